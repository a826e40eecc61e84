"""The router's memory: one SQLite file that holds UIDs, counts, states and times, and no patient attribute.

Every change is on the disk when a method returns (WAL, synchronous=FULL). The received files are the truth about what
came in; this file is the truth about what became of it.
"""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from claimed_med.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

StudyState = Literal["received", "complete", "running", "stored", "failed", "quarantined"]
STATES: tuple[StudyState, ...] = ("received", "complete", "running", "stored", "failed", "quarantined")
SCHEMA = 1
_ENDED = frozenset({"stored", "failed", "quarantined"})
_BUSY_S = 30.0
_TABLES = """
CREATE TABLE IF NOT EXISTS studies (
    study_uid TEXT PRIMARY KEY, version INTEGER NOT NULL, state TEXT NOT NULL, rule TEXT NOT NULL, reason TEXT NOT NULL,
    tries INTEGER NOT NULL, next_at REAL NOT NULL, last_at REAL NOT NULL, changed_at REAL NOT NULL,
    began INTEGER NOT NULL, refusals INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS objects (
    study_uid TEXT NOT NULL, name TEXT NOT NULL, sop_uid TEXT NOT NULL, series_uid TEXT NOT NULL,
    version INTEGER NOT NULL, at REAL NOT NULL, repeats INTEGER NOT NULL, conflict INTEGER NOT NULL,
    PRIMARY KEY (study_uid, name));
CREATE TABLE IF NOT EXISTS deliveries (
    study_uid TEXT NOT NULL, destination TEXT NOT NULL, sop_uid TEXT NOT NULL, sends INTEGER NOT NULL,
    stored_at REAL NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (study_uid, destination, sop_uid));
CREATE TABLE IF NOT EXISTS history (
    id INTEGER PRIMARY KEY, study_uid TEXT NOT NULL, version INTEGER NOT NULL, at REAL NOT NULL, state TEXT NOT NULL,
    words TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS history_of ON history (study_uid);
CREATE INDEX IF NOT EXISTS studies_in ON studies (state);
"""


@dataclass(frozen=True)
class Arrival:
    """One object that came in.

    Attributes:
        study_uid: StudyInstanceUID.
        series_uid: SeriesInstanceUID.
        sop_uid: SOPInstanceUID.
        name: Its file in the study's folder.
        repeated: Whether the very same bytes were there already.
    """

    study_uid: str
    series_uid: str
    sop_uid: str
    name: str
    repeated: bool = False

    @property
    def conflicts(self) -> bool:
        """Whether other bytes came first under its SOPInstanceUID."""
        return self.name != f"{self.sop_uid}.dcm"


@dataclass(frozen=True)
class Study:
    """A study as the router knows it.

    Attributes:
        study_uid: StudyInstanceUID.
        version: 1, and one more each time that it was opened again for objects that came late.
        state: One of `STATES`.
        rule: Name of its rule, '' before there is one.
        reason: Why it waits, failed, or is quarantined.
        tries: Of this version, so far.
        next_at: Not to be worked on before [s since 1970].
        last_at: When its last object came [s since 1970].
        changed_at: When its state changed [s since 1970].
        began: Whether work on this version has begun, so that what comes now comes late.
        refusals: How many of the tries ended with an answer that was no, not for lack of an answer.
    """

    study_uid: str
    version: int
    state: StudyState
    rule: str
    reason: str
    tries: int
    next_at: float
    last_at: float
    changed_at: float
    began: int
    refusals: int


class State:
    """The state file; safe to use from several threads, and from `net status` beside a running router.

    Args:
        path: Made when it is not there.

    Raises:
        InputError: It is no state file of this version.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._base = sqlite3.connect(path, timeout=_BUSY_S, check_same_thread=False, isolation_level=None)
        self._base.row_factory = sqlite3.Row
        try:
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=FULL")
            version = int(self._base.execute("PRAGMA user_version").fetchone()[0])
            if version not in {0, SCHEMA}:
                raise InputError("route", "the state file is of another version", got=version, allowed=str(SCHEMA))
            self._base.executescript(_TABLES + f"PRAGMA user_version={SCHEMA};")
        except sqlite3.DatabaseError:
            self._base.close()
            raise InputError("route", "the state file is damaged, or no state file") from None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._base.close()

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield self._base
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        with self._lock:
            return self._base.execute(query, values).fetchall()

    # what comes in

    def note(self, arrivals: Iterable[Arrival]) -> set[str]:
        """Take objects down; the studies that have something new.

        A study that is waiting takes them in; one that runs or has ended is opened again as its next version, now or
        when the run ends.
        """
        now, touched = time.time(), set()
        with self._change() as base:
            for one in arrivals:
                if self._note(base, one, now):
                    touched.add(one.study_uid)
        return touched

    def _note(self, base: sqlite3.Connection, one: Arrival, now: float) -> bool:
        known = base.execute(
            "UPDATE objects SET repeats = repeats + ? WHERE study_uid = ? AND name = ?",
            (int(one.repeated), one.study_uid, one.name),
        ).rowcount
        if known:
            return False
        row = base.execute("SELECT version, state, began FROM studies WHERE study_uid = ?", (one.study_uid,)).fetchone()
        if row is None:
            base.execute(
                "INSERT INTO studies VALUES (?, 1, 'received', '', '', 0, 0, ?, ?, 0, 0)", (one.study_uid, now, now)
            )
            self._tell(base, one.study_uid, 1, "received", "first object")
        version, state = (1, "received") if row is None else (int(row["version"]), str(row["state"]))
        if one.conflicts:
            self._tell(base, one.study_uid, version, state, "other bytes came under a known SOPInstanceUID; kept aside")
        elif state in _ENDED:
            version += 1
            self._reopen(base, one.study_uid, version)
        elif state == "running" or (state == "complete" and row["began"]):
            version += 1
        elif row is not None:
            base.execute("UPDATE studies SET state = 'received', last_at = ? WHERE study_uid = ?", (now, one.study_uid))
            if state == "complete":
                self._tell(base, one.study_uid, version, "received", "another object before work began")
        base.execute(
            "INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, 0, ?)",
            (one.study_uid, one.name, one.sop_uid, one.series_uid, version, now, int(one.conflicts)),
        )
        return not one.conflicts

    def _reopen(self, base: sqlite3.Connection, study_uid: str, version: int) -> None:
        now = time.time()
        base.execute(
            "UPDATE studies SET version = ?, state = 'received', reason = '', tries = 0, next_at = 0, last_at = ?, "
            "changed_at = ?, began = 0, refusals = 0 WHERE study_uid = ?",
            (version, now, now, study_uid),
        )
        self._tell(base, study_uid, version, "received", "opened again: objects came late")

    def known_names(self) -> dict[str, set[str]]:
        """StudyInstanceUID -> names of the files that were taken down."""
        found: dict[str, set[str]] = {}
        for row in self._rows("SELECT study_uid, name FROM objects"):
            found.setdefault(row["study_uid"], set()).add(row["name"])
        return found

    # what becomes of it

    def move(self, study: Study, state: StudyState, words: str = "", **changes: Any) -> bool:
        """Change the state of a study, unless it is no longer as `study` says; whether it was changed.

        A study that ends while late objects wait is opened again at once.

        Args:
            study: As it was when this was decided.
            state: Its new state.
            words: Why; for reason and history.
            changes: New values of `rule`, `tries`, `refusals`, `next_at` (else: now).
        """
        now = time.time()
        with self._change() as base:
            new = dataclasses.replace(study, **{"next_at": 0.0, **changes})
            changed = base.execute(
                "UPDATE studies SET state = ?, rule = ?, reason = ?, tries = ?, refusals = ?, next_at = ?, "
                "changed_at = ?, began = MAX(began, ?) "
                "WHERE study_uid = ? AND version = ? AND state = ? AND last_at = ?",
                (
                    *(state, new.rule, words, new.tries, new.refusals, new.next_at, now, int(state == "running")),
                    *(study.study_uid, study.version, study.state, study.last_at),
                ),
            ).rowcount
            if not changed:
                return False
            self._tell(base, study.study_uid, study.version, state, words)
            late = base.execute(
                "SELECT 1 FROM objects WHERE study_uid = ? AND version > ? LIMIT 1", (study.study_uid, study.version)
            ).fetchone()
            if late and state in _ENDED:
                self._reopen(base, study.study_uid, study.version + 1)
        return True

    def explain(self, study: Study, rule: str, reason: str, until: float) -> None:
        """Say what a study waits for, and until when at least [s since 1970], without a change of its state."""
        if (study.rule, study.reason, study.next_at) != (rule, reason, until):
            with self._change() as base:
                base.execute(
                    "UPDATE studies SET rule = ?, reason = ?, next_at = ? "
                    "WHERE study_uid = ? AND version = ? AND state = ?",
                    (rule, reason, until, study.study_uid, study.version, study.state),
                )

    def retry(self, study_uid: str) -> Study:
        """Take a study up again that failed or is quarantined.

        Raises:
            InputError: There is no such study, or it has not ended so.
        """
        found = self.study(study_uid)
        if found is None or found.state not in {"failed", "quarantined"}:
            state = "unknown" if found is None else found.state
            raise InputError("route", "the study cannot be tried again", got=state, allowed="failed, quarantined")
        self.move(found, "received", "taken up again by hand", tries=0, refusals=0)
        return self.study(study_uid) or found

    def take_up(self) -> list[str]:
        """After a start: give back what was running when the router ended."""
        stopped = self.studies("running")
        for one in stopped:
            self.move(one, "complete", "the router was stopped; goes on")
        return [one.study_uid for one in stopped]

    # what goes out

    def open_deliveries(self, study_uid: str, destination: str, sop_uids: Iterable[str]) -> dict[str, int]:
        """Which objects are not known to be there yet -> how often each was sent."""
        rows = self._rows(
            "SELECT sop_uid, sends, stored_at FROM deliveries WHERE study_uid = ? AND destination = ?",
            (study_uid, destination),
        )
        known = {row["sop_uid"]: row for row in rows}
        return {
            uid: int(known[uid]["sends"]) if uid in known else 0
            for uid in sop_uids
            if uid not in known or not known[uid]["stored_at"]
        }

    def sending(self, study_uid: str, destination: str, sop_uids: Iterable[str]) -> None:
        """Take down that objects are about to go out."""
        with self._change() as base:
            base.executemany(
                "INSERT INTO deliveries VALUES (?, ?, ?, 1, 0, '') "
                "ON CONFLICT DO UPDATE SET sends = sends + 1, reason = ''",
                [(study_uid, destination, uid) for uid in sop_uids],
            )

    def sent(self, study_uid: str, destination: str, outcomes: Mapping[str, str]) -> None:
        """Take down what became of objects: SOPInstanceUID -> '' when it is there, else why not."""
        now = time.time()
        with self._change() as base:
            base.executemany(
                "INSERT INTO deliveries VALUES (?, ?, ?, 0, ?, ?) "
                "ON CONFLICT DO UPDATE SET stored_at = excluded.stored_at, reason = excluded.reason",
                [(study_uid, destination, uid, 0.0 if why else now, why) for uid, why in outcomes.items()],
            )

    # questions

    def study(self, study_uid: str) -> Study | None:
        """One study, None when it is unknown."""
        rows = self._rows("SELECT * FROM studies WHERE study_uid = ?", (study_uid,))
        return Study(**dict(rows[0])) if rows else None

    def studies(self, *states: StudyState) -> list[Study]:
        """The studies in some states (all, when none is named), the longest waiting first."""
        chosen = states or STATES
        marks = ", ".join("?" * len(chosen))
        query = f"SELECT * FROM studies WHERE state IN ({marks}) ORDER BY changed_at, study_uid"  # noqa: S608 - marks
        return [Study(**dict(row)) for row in self._rows(query, chosen)]

    def objects(self, study: Study) -> dict[str, list[str]]:
        """SeriesInstanceUID -> file names, of the objects that belong to this version of a study."""
        found: dict[str, list[str]] = {}
        for row in self._rows(
            "SELECT series_uid, name FROM objects WHERE study_uid = ? AND version <= ? AND NOT conflict ORDER BY name",
            (study.study_uid, study.version),
        ):
            found.setdefault(row["series_uid"], []).append(row["name"])
        return found

    def history(self, study_uid: str) -> list[dict[str, Any]]:
        """Every change of a study: version, at, state, words."""
        query = "SELECT version, at, state, words FROM history WHERE study_uid = ? ORDER BY id"
        return [dict(row) for row in self._rows(query, (study_uid,))]

    def deliveries(self, study_uid: str) -> list[dict[str, Any]]:
        """Per destination: objects, stored, sends, repeats."""
        return [dict(row) for row in self._rows(f"{_DELIVERIES} WHERE study_uid = ? GROUP BY destination", [study_uid])]

    def totals(self) -> dict[str, Any]:
        """Counts over everything: studies by state, objects, repeats in and out, conflicts."""
        states = {row["state"]: row["n"] for row in self._rows("SELECT state, COUNT(*) n FROM studies GROUP BY state")}
        came = self._rows("SELECT COUNT(*) n, TOTAL(repeats) repeats, TOTAL(conflict) conflicts FROM objects")[0]
        return {
            "studies": {one: int(states.get(one, 0)) for one in STATES},
            "objects": int(came["n"]),
            "repeats_received": int(came["repeats"]),
            "conflicts": int(came["conflicts"]),
            "deliveries": [dict(row) for row in self._rows(f"{_DELIVERIES} GROUP BY destination")],
        }

    @staticmethod
    def _tell(base: sqlite3.Connection, study_uid: str, version: int, state: str, words: str) -> None:
        base.execute(
            "INSERT INTO history (study_uid, version, at, state, words) VALUES (?, ?, ?, ?, ?)",
            (study_uid, version, time.time(), state, words),
        )


_DELIVERIES = (
    "SELECT destination, COUNT(*) objects, SUM(stored_at > 0) stored, SUM(sends) sends, "
    "SUM(MAX(sends - 1, 0)) repeats FROM deliveries"
)
