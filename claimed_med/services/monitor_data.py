"""What the page of deployed models shows: reports on the record, worked out again for windows that have changed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from claimed_med.errors import InputError
from claimed_med.prediction_log import PredictionLog
from claimed_med.services.monitor_work import Work
from claimed_med.trust import alert, bias_over_time, monitoring, policy
from claimed_med.trust.drift import Rules
from claimed_med.trust.recorded import table
from claimed_med.trust.subgroup import Rules as GroupRules
from claimed_med.trust.window import Kept, windows

_N_BOOTSTRAP = 200
_CLOCK_S = 1e-6  # times lose less than this on their way through a table
# as the server writes them; named here too, since the page runs without what the server needs
OVERVIEW, EXPLANATION, SHORT = "overview", "explanation", 12


@dataclass(frozen=True)
class Watch:
    """What is watched, and how.

    Attributes:
        record: Address of the record of predictions.
        references: Model digest -> table of what the model was validated on; '' for every other model.
        window: Size of a window, as measure-drift takes it.
        attributes: Who belongs to which group.
        limits: Policy whose limits are alerts.
        pictures: Folders with pictures of cases: `.../<unit key>/*.png`, as components and the server write them.
        last_cases: How many predictions of a model are shown at most, the newest.
    """

    record: str
    references: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    window: str = "200"
    attributes: Sequence[str] = ("sex", "age_band")
    limits: str = "deployed_classifier"
    pictures: Sequence[Path] = ()
    last_cases: int = 20_000


@dataclass(frozen=True)
class Pictured:
    """A picture of a case.

    Attributes:
        path: PNG.
        legend: What it shows.
        is_explanation: Whether it shows where the model looked.
    """

    path: Path
    legend: str
    is_explanation: bool

    @classmethod
    def of(cls, path: Path) -> Pictured:
        """By its name, and what the server noted beside it."""
        kind, _, method = path.stem.partition("-")
        if kind != EXPLANATION:
            return cls(path, "Overview" if kind == OVERVIEW else "Picture", is_explanation=False)
        told = f"Explanation by {method.replace('_', ' ')}: the image, and where the model looked"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            note = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            at = str(note["at"])[:16].replace("T", " ")
            told += f" for {note['positive']} (score {float(note['score']):.3f}), asked for {at}"
        return cls(path, told, is_explanation=True)


@dataclass(frozen=True)
class Watched:
    """One model over time.

    Attributes:
        digest: Of the model.
        table: Its predictions, oldest first.
        drift: Report of measure-drift; None without a reference.
        bias: Report of measure-bias-over-time; None without truth, attributes or a reference.
        missing: Why there is no drift or bias report.
        alerts: Limits that are passed now.
        is_old: Whether more has been recorded since, which is being worked on.
    """

    digest: str
    table: pd.DataFrame
    drift: Mapping[str, Any] | None
    bias: Mapping[str, Any] | None
    missing: Mapping[str, str]
    alerts: Sequence[alert.Alert]
    is_old: bool = False


@dataclass
class _Seen:
    """What is kept of a model between two reports.

    Attributes:
        since: Begin of what is looked at [s since 1970, UTC]: it stays for a while, so that windows stay the same.
        drift: Windows of the drift report.
        bias: Windows of the bias report.
    """

    since: float = 0.0
    drift: Kept = field(default_factory=Kept)
    bias: Kept = field(default_factory=Kept)


class Monitor:
    """Reports on every model of a record.

    Args:
        watch: What is watched.

    Raises:
        InputError: There is no record at the address.
    """

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self._work = Work(self._watched)
        self._seen: dict[str, _Seen] = {}
        if "://" not in watch.record and not Path(watch.record).is_file():
            raise InputError("monitor", "there is no record of predictions", do="give the one of `claimed-med serve`")

    def models(self) -> dict[str, int]:
        """Model digest -> number of predictions."""
        return {digest: count for digest, (count, *_) in self._state().items()}

    def ask(self, digest: str) -> Future[Watched]:
        """One model, when it is worked out.

        Raises:
            KeyError: The record holds no prediction of it.
        """
        return self._work.ask(digest, self._state()[digest])

    def before(self, digest: str) -> Watched | None:
        """One model as it was worked out last, if it ever was."""
        found = self._work.before(digest)
        return None if found is None else replace(found, is_old=True)

    def model(self, digest: str) -> Watched:
        """One model; waits until it is worked out.

        Raises:
            KeyError: The record holds no prediction of it.
        """
        return self.ask(digest).result()

    def window(self, watched: Watched, number: int) -> pd.DataFrame:
        """The cases of one window of a model, counted from 1.

        Raises:
            KeyError: There is no such window.
        """
        cut = windows(watched.table, self.watch.window, "monitor")
        if not 1 <= number <= len(cut):
            raise KeyError(number)
        return cut[number - 1].table

    def pictures(self, digest: str, unit_key: str) -> list[Pictured]:
        """Pictures of a case: overviews first; without those of the same image that the server drew for other models.

        Args:
            digest: Of the model.
            unit_key: Of the image or volume.
        """
        if not unit_key or not unit_key.isalnum():
            return []
        others = {other[:SHORT] for other in self._state()} - {digest[:SHORT]}
        found = [path for folder in self.watch.pictures for path in sorted(folder.rglob(f"{unit_key}/*.png"))]
        made = [Pictured.of(path) for path in found if path.parent.parent.name not in others]
        return sorted(made, key=lambda one: one.is_explanation)

    def _state(self) -> dict[str, tuple[int, int, float, float]]:
        log = PredictionLog(self.watch.record)
        try:
            return log.state()
        finally:
            log.close()

    def _table(self, digest: str, seen: _Seen) -> pd.DataFrame:
        """The newest cases; the first stays the first until a quarter more has come."""
        most = self.watch.last_cases
        if seen.since:
            found = table(self.watch.record, digest, 0.0, most + most // 4 + 1, since=seen.since)
            if len(found) <= most + most // 4:
                return found
        found = table(self.watch.record, digest, 0.0, most)
        seen.since = pd.Timestamp(found["time"].iloc[0]).timestamp() - _CLOCK_S if len(found) == most else 0.0
        return found

    def _watched(self, digest: str) -> Watched:
        watch = self.watch
        seen = self._seen.setdefault(digest, _Seen())
        found = self._table(digest, seen)
        reference = watch.references.get(digest, watch.references.get(""))
        missing: dict[str, str] = {}
        drift = bias = None
        if reference is None:
            missing = dict.fromkeys(("drift", "bias"), "no reference was given (--reference)")
        else:
            drift = self._tried(missing, "drift", lambda: monitoring.over_time(
                reference, found, watch.window, [], Rules(), n_bootstrap=_N_BOOTSTRAP, kept=seen.drift))  # fmt: skip
            bias = self._tried(missing, "bias", lambda: bias_over_time.over_time(
                reference, found, watch.window, watch.attributes, GroupRules(),
                bias_over_time.Limits(n_bootstrap=_N_BOOTSTRAP), kept=seen.bias))  # fmt: skip
        if bias is not None and not bias["windows"]:
            missing["bias"], bias = "; ".join(bias["notes"]), None
        reports = {name: one for name, one in (("drift", drift), ("bias", bias)) if one is not None}
        limits = policy.load(watch.limits)
        held = policy.Policy(limits.name, tuple(one for one in limits.require if one.report in reports))
        return Watched(digest, found, drift, bias, missing, alert.raised(held, reports) if reports else [])

    @staticmethod
    def _tried(missing: dict[str, str], name: str, measure: Any) -> Mapping[str, Any] | None:
        try:
            return dict(measure())
        except InputError as error:
            missing[name] = str(error)
            return None
