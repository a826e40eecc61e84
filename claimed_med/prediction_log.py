"""The record of every prediction that a server made: SQLite by default, PostgreSQL by URL. Standard library at the top.

    log = PredictionLog("predictions.sqlite")            or "postgresql://host/database" (needs the extra `serve`)
    log.append([Prediction(...)])                        what the server does, before it answers
    log.add_truth("sop-key", "disease")                  when the truth arrives, days or months later
    log.read(since=..., model_digest=...)                what monitoring does: rows in the order of their times
    log.frame(since=...)                                 the same as a pandas table, one column an attribute or feature

No patient attribute is kept: identifiers are keyed hashes (see `claimed_med.secret`), ages are bands and whole years of
at most 90, sites are pseudonyms. Times are seconds since 1970, UTC. A table of another schema version is refused.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import operator
import os
import sqlite3
import threading
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from claimed_med import postgres
from claimed_med.errors import InputError, OutputError, require

_WHERE = "prediction-log"
SCHEMA = 1
OLDEST_TOLD = 90
Outcome = Literal["answered", "refused"]
_JSON = ("probabilities", "attributes", "features")
# [s]; and [ms] without an answer on the wire. The address may say otherwise
_PATIENCE = {"connect_timeout": 5, "keepalives_idle": 30, "tcp_user_timeout": 15_000}
_ROWS = 64  # of one statement: SQLite takes 32,766 values, PostgreSQL 65,535
_as_json = json.JSONEncoder(sort_keys=True).encode


@dataclass(frozen=True)
class Prediction:
    """One prediction, or one input that was refused.

    Attributes:
        prediction_id: Unique; the server's answer names it. In the order of the times, which keeps an index small.
        request_id: Of the request, a UUID or a keyed hash; one request may hold several inputs.
        at: When it was answered [s since 1970, UTC].
        outcome: `answered`, or `refused` (data quality: the input could not be used).
        reason: Error class and names of findings of a refusal, such as `InputError MissingSlice`; '' otherwise.
        route: `v1`, `v2`, `grpc` or `dicom`.
        model: Name under which the model was asked for.
        model_digest: Payload digest of the bundle that answered.
        variant: `stable` or `canary`.
        override: Why a model without a blessing was served; '' where it was blessed.
        input_digest: sha256 of the tensor, or payload digest of the series.
        unit_key: Key of the series as in `units.json`; '' for tensors.
        sop_key: Keyed hash (kind `uid`) of the smallest SOPInstanceUID of the series: the truth is joined on it.
        study_key: Keyed hash (kind `uid`) of the StudyInstanceUID.
        patient_key: As in cohort tables.
        task: `classification` or `segmentation`.
        positive: The class whose probability is the score; '' for segmentation.
        score: Probability of `positive`; for a segmentation the share of foreground voxels.
        decision: The class that was called; for a segmentation the names of the structures found.
        threshold: Score from which `positive` is called.
        probabilities: Class -> probability; structure -> volume [ml] for a segmentation.
        embedding_kind: `penultimate` (input of the last layer), `pooled` (prepared image, 8 cells an axis), or ''.
        embedding: The numbers, float32; where it is an `array`, one of type code `f`.
        attributes: Cohort attributes: sex, age_band, view, modality, manufacturer, scanner, site; `unknown` where the
            header does not tell. Empty for tensors.
        features: Numbers for drift: age, rows, columns, n_slices, spacing_mm, intensity_mean, ..., and header values.
        duration_s: From the arrival to the answer [s].
        truth: The true class, once it is known; ''.
        truth_at: When it arrived [s since 1970, UTC]; 0 before.
    """

    prediction_id: str = field(default_factory=lambda: f"{time.time_ns():016x}{os.urandom(8).hex()}")
    request_id: str = ""
    at: float = 0.0
    outcome: Outcome = "answered"
    reason: str = ""
    route: str = ""
    model: str = ""
    model_digest: str = ""
    variant: str = "stable"
    override: str = ""
    input_digest: str = ""
    unit_key: str = ""
    sop_key: str = ""
    study_key: str = ""
    patient_key: str = ""
    task: str = "classification"
    positive: str = ""
    score: float | None = None
    decision: str = ""
    threshold: float | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    embedding_kind: str = ""
    embedding: Sequence[float] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    features: Mapping[str, float] = field(default_factory=dict)
    duration_s: float = 0.0
    truth: str = ""
    truth_at: float = 0.0


ATTRIBUTES = ("sex", "age_band", "view", "modality", "manufacturer", "scanner", "site")
COLUMNS = tuple(one.name for one in fields(Prediction))
_TYPES = {
    "at": "DOUBLE PRECISION NOT NULL",
    "score": "DOUBLE PRECISION",
    "threshold": "DOUBLE PRECISION",
    "duration_s": "DOUBLE PRECISION NOT NULL",
    "truth_at": "DOUBLE PRECISION NOT NULL",
    "prediction_id": "TEXT PRIMARY KEY",
}
# tensors have no sop_key, and need no entry there
_INDEXED = {"at": "", "sop_key": " WHERE sop_key <> ''", "model_digest": ""}
_columns = operator.attrgetter(*COLUMNS)
_places = {name: place for place, name in enumerate(COLUMNS)}


class PredictionLog:
    """A table of predictions; safe to use from several threads and processes.

    Args:
        url: A path, `sqlite:///path`, or `postgresql://...`. A password belongs into PGPASSWORD or a pgpass file.

    Raises:
        ContractError: The address is of another kind.
        MissingDependencyError: PostgreSQL's client is not installed.
        InputError: The server does not answer or refuses us, the file is no database, or it holds another schema.
        OutputError: The file of the database cannot be made.
    """

    def __init__(self, url: str) -> None:
        self._lock = threading.Lock()
        path = url.removeprefix("sqlite:///")
        is_server = postgres.is_url(path, _WHERE)
        self._mark = "%s" if is_server else "?"
        self._binary = "BYTEA" if is_server else "BLOB"
        self._errors: tuple[type[Exception], ...] = (sqlite3.Error,)
        self._connect = functools.partial(self._postgresql, url) if is_server else functools.partial(_sqlite, path)
        try:
            self._connection = self._connect()
        except (*self._errors, UnicodeError) as error:
            raise (postgres.unreachable if is_server else postgres.failed)(error, _WHERE) from None
        try:
            if not is_server:
                _settle_in(self._connection)
            self._create()
        except BaseException as error:
            self._connection.close()
            if isinstance(error, self._errors):
                raise postgres.failed(error, _WHERE) from None
            raise

    def append(self, predictions: Iterable[Prediction]) -> None:
        """Write predictions in one transaction: all or none.

        Raises:
            OutputError: The database does not take them (disk full, no connection).
        """
        rows = [_row(one) for one in predictions]
        is_one = len(rows) <= _ROWS
        with self._transaction("predictions cannot be recorded", is_one=is_one) as cursor:
            for start in range(0, len(rows), _ROWS):  # a statement of many rows: one step, not one each
                some = rows[start : start + _ROWS]
                cursor.execute(_insertion(self._mark, len(some)), list(itertools.chain.from_iterable(some)))

    def add_truth(self, sop_key: str, truth: str, at: float) -> int:
        """Write the truth of an image beside every prediction of it.

        Args:
            sop_key: As in `Prediction`; `secret.keyed_hash("uid", sop_instance_uid)`.
            truth: The true class.
            at: When it became known [s since 1970, UTC].

        Returns:
            How many predictions it belongs to.

        Raises:
            OutputError: The database does not take it.
        """
        mark = self._mark
        told = f"UPDATE predictions SET truth = {mark}, truth_at = {mark} WHERE sop_key = {mark} AND sop_key <> ''"  # noqa: S608 - columns are ours
        with self._transaction("the truth cannot be recorded") as cursor:
            cursor.execute(told, (truth, at, sop_key))
            return int(cursor.rowcount)

    def read(
        self,
        *,
        since: float = 0.0,
        until: float = float("inf"),
        model_digest: str = "",
        with_truth: bool = False,
        last: int = 0,
    ) -> list[Prediction]:
        """Predictions in the order of their times.

        Args:
            since: From this time on [s since 1970, UTC].
            until: Before this time.
            model_digest: Of one model only; '' for all.
            with_truth: Only those whose truth is known.
            last: The latest so many of them; 0 for all.

        Raises:
            InputError: The database cannot be read.
        """
        return list(map(_prediction, self._select(since, until, model_digest, with_truth=with_truth, last=last)))

    def frame(self, **chosen: Any) -> Any:
        """As `read`, as `pandas.DataFrame`: attributes and features are columns `attribute_NAME`, `feature_NAME`.

        The columns probabilities and embedding hold mappings and float32 arrays.
        """
        import numpy as np
        import pandas as pd

        rows = []
        for one in self.read(**chosen):
            row: dict[str, Any] = {
                name: getattr(one, name) for name in COLUMNS if name not in {"attributes", "features"}
            }
            row["embedding"] = np.asarray(one.embedding, dtype=np.float32)
            row |= {f"attribute_{name}": value for name, value in one.attributes.items()}
            row |= {f"feature_{name}": value for name, value in one.features.items()}
            rows.append(row)
        plain = [name for name in COLUMNS if name not in {"attributes", "features"}]
        return pd.DataFrame(rows) if rows else pd.DataFrame(columns=plain)

    def models(self) -> dict[str, int]:
        """Model digest -> how many predictions it made or refused.

        Raises:
            InputError: The database cannot be read.
        """
        found = self._query(
            "SELECT model_digest, COUNT(*) FROM predictions GROUP BY model_digest ORDER BY model_digest"
        )
        return {str(name): int(count) for name, count in found}

    def state(self) -> dict[str, tuple[int, int, float, float]]:
        """Model digest -> what tells whether something has changed: predictions, those whose truth is known, and times.

        Raises:
            InputError: The database cannot be read.
        """
        found = self._query(
            "SELECT model_digest, COUNT(*), SUM(CASE WHEN truth <> '' THEN 1 ELSE 0 END), MAX(at), SUM(truth_at) "
            "FROM predictions GROUP BY model_digest ORDER BY model_digest"
        )
        return {str(name): (int(count), int(known), float(at), float(told)) for name, count, known, at, told in found}

    def forget(self, before: float) -> int:
        """Delete what is older than a time [s since 1970, UTC] (retention); how many.

        Raises:
            OutputError: The database does not do it.
        """
        with self._transaction("old predictions cannot be deleted") as cursor:
            cursor.execute(f"DELETE FROM predictions WHERE at < {self._mark}", (before,))  # noqa: S608 - columns are ours
            return int(cursor.rowcount)

    def close(self) -> None:
        """Close the connection."""
        with self._lock, contextlib.suppress(*self._errors):
            self._connection.close()

    def _select(self, since: float, until: float, digest: str, *, with_truth: bool, last: int) -> list[Sequence[Any]]:
        conditions, values = [f"at >= {self._mark}"], [since]
        more: list[tuple[str, Any]] = [
            (f"at < {self._mark}", until if until != float("inf") else None),
            (f"model_digest = {self._mark}", digest or None),
        ]
        for condition, value in more:
            if value is not None:
                conditions.append(condition)
                values.append(value)
        if with_truth:
            conditions.append("truth <> ''")
        order = f"ORDER BY at DESC, prediction_id DESC LIMIT {int(last)}" if last else "ORDER BY at, prediction_id"
        told = f"SELECT {', '.join(COLUMNS)} FROM predictions WHERE {' AND '.join(conditions)} {order}"  # noqa: S608 - columns are ours
        found = self._query(told, values)
        return found[::-1] if last else found

    def _query(self, text: str, values: Sequence[Any] = ()) -> list[Sequence[Any]]:
        try:
            with self._lock:
                cursor = self._open().cursor()
                try:
                    cursor.execute(text, tuple(values))
                    return list(cursor.fetchall())
                finally:
                    self._connection.commit()
                    cursor.close()
        except self._errors as error:
            raise InputError(_WHERE, "the database cannot be read", got=type(error).__name__) from None

    @contextlib.contextmanager
    def _transaction(self, what: str, *, is_one: bool = False) -> Iterator[Any]:
        """All or nothing; one statement alone is that in SQLite by itself."""
        try:
            with self._lock:
                cursor = self._open().cursor()
                try:
                    if self._binary == "BLOB" and not is_one:
                        cursor.execute("BEGIN")
                    yield cursor
                    self._connection.commit()
                except BaseException:
                    with contextlib.suppress(*self._errors):  # the first error is the one to tell
                        self._connection.rollback()
                    raise
                finally:
                    cursor.close()
        except self._errors as error:
            raise OutputError(_WHERE, what, got=type(error).__name__, do="see to disk and database") from None

    def _open(self) -> Any:
        """The connection; a new one where the database has ended the last (restarted, or away for a while)."""
        if self._binary == "BYTEA" and postgres.is_lost(self._connection):
            self._connection.close()
            self._connection = self._connect()
        return self._connection

    def _create(self) -> None:
        listed = ", ".join(f"{name} {self._type(name)}" for name in COLUMNS)
        cursor = self._connection.cursor()
        if self._binary == "BYTEA":  # of two who make a table at once, IF NOT EXISTS lets one fail
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('claimed-med predictions'))")
        cursor.execute("CREATE TABLE IF NOT EXISTS prediction_schema (version INTEGER NOT NULL)")
        cursor.execute(f"CREATE TABLE IF NOT EXISTS predictions ({listed})")
        for name, those in _INDEXED.items():
            cursor.execute(f"CREATE INDEX IF NOT EXISTS predictions_{name} ON predictions ({name}){those}")
        cursor.execute("SELECT MAX(version) FROM prediction_schema")
        (found,) = cursor.fetchone()
        if found is None:
            cursor.execute(f"INSERT INTO prediction_schema VALUES ({SCHEMA})")  # noqa: S608 - columns are ours
        self._connection.commit()
        cursor.close()
        if found not in {None, SCHEMA}:
            raise InputError(
                _WHERE, "the database has another schema", got=found, allowed=str(SCHEMA), do="use a new one"
            )

    def _type(self, name: str) -> str:
        return self._binary + " NOT NULL" if name == "embedding" else _TYPES.get(name, "TEXT NOT NULL")

    def _postgresql(self, url: str) -> Any:
        client = require("psycopg", "serve")
        self._errors = (client.Error,)
        given = client.conninfo.conninfo_to_dict(url)
        return client.connect(url, **{name: value for name, value in _PATIENCE.items() if name not in given})


def _sqlite(path: str) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=30.0, check_same_thread=False, isolation_level=None)


def _settle_in(connection: sqlite3.Connection) -> None:
    """Make a file ours; not that of somebody else, for whom a table or mode of ours would make it unfit."""
    listed = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'"
    )
    if {name for (name,) in listed} - {"prediction_schema", "predictions"}:
        raise InputError(_WHERE, "the file is a database of something else", do="choose another file")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


@functools.cache
def _insertion(mark: str, n_rows: int) -> str:
    marks = f"({', '.join([mark] * len(COLUMNS))})"
    return f"INSERT INTO predictions ({', '.join(COLUMNS)}) VALUES {', '.join([marks] * n_rows)}"  # noqa: S608 - columns are ours


def _row(one: Prediction) -> list[Any]:
    row = list(_columns(one))
    for name in _JSON:
        place = _places[name]
        row[place] = _as_json(dict(row[place])) if row[place] else "{}"
    embedding = one.embedding if isinstance(one.embedding, array) else array("f", one.embedding)
    row[_places["embedding"]] = embedding.tobytes()
    return row


def _prediction(row: Sequence[Any]) -> Prediction:
    told = dict(zip(COLUMNS, row, strict=True))
    told |= {name: json.loads(told[name]) for name in _JSON}
    numbers = array("f")
    numbers.frombytes(bytes(told["embedding"]))
    told["embedding"] = tuple(numbers)
    return Prediction(**told)
