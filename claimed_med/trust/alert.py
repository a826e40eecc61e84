"""Which limits of a deployed model are passed, and why."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from claimed_med.errors import InputError
from claimed_med.trust import policy
from claimed_med.trust.metric import TOO_FEW
from claimed_med.trust.policy import COMPARISONS, Policy, Requirement

LATEST = "latest"  # the group of figures of the newest whole window
# what a window must have for a figure to mean something
_FROM = {"n_drifted": "tests", "n_worse": "performance", "n_flagged": "metrics"}
_Judged = tuple[Mapping[str, Any] | None, Mapping[str, Any]]  # a window, and the report as if it were the newest


@dataclass(frozen=True)
class Episode:
    """Windows in a row in which a limit is passed; one whose truth is not known, or with too few cases, ends none.

    Attributes:
        first: Begin of the first [s since 1970, UTC], or its number where there are no times.
        last: End of the last.
        windows: Their names, oldest first; none where the figure belongs to no window.
    """

    first: float
    last: float
    windows: tuple[str, ...]


@dataclass(frozen=True)
class Cause:
    """What passes a limit.

    Attributes:
        name: Of the drifted column, the flagged group ...; '' where nothing can be named.
        episodes: When, oldest first.
    """

    name: str
    episodes: tuple[Episode, ...]


@dataclass(frozen=True)
class Alert:
    """A limit that is passed.

    Attributes:
        key: Identifies model, limit and group.
        limit: In words.
        value: The figure in the newest window that passes it, or None when it is missing.
        why: The words of the limit.
        now: Whether the newest window that could be judged passes it.
        causes: What passes it, and in which windows.
    """

    key: str
    limit: str
    value: float | None
    why: str
    now: bool
    causes: tuple[Cause, ...]


def raised(limits: Policy, reports: Mapping[str, Mapping[str, Any]], *, n_windows: int = 1) -> list[Alert]:
    """The limits that do not hold in the newest whole windows.

    Args:
        limits: Read by `claimed_med.trust.policy.load`.
        reports: `drift` and `bias`.
        n_windows: How many windows are judged: the newest whole ones of which something is known.

    Raises:
        InputError: The reports are about different models.
    """
    models = sorted({str(one.get("model_digest", "")) for one in reports.values()})
    if len(models) != 1:
        raise InputError("send-notification", "the reports are about different models", got=len(models), allowed="1")
    found: list[Alert] = []
    views = {name: _views(one) for name, one in reports.items()}
    for demand in limits.require:
        judged: list[_Judged] = [(None, reports.get(demand.report, {}))]
        if demand.group.startswith(LATEST) and (of_windows := views.get(demand.report)):
            judged = [(one, view) for one, view in of_windows if _is_known(demand, one)][-n_windows:]
        found += _passed(demand, judged, models[0])
    return found


def only(alerts: Sequence[Alert], keep: Callable[[str, str, Episode], bool]) -> list[Alert]:
    """Alerts with only some episodes; what has none left is left out.

    Args:
        alerts: All of them.
        keep: Of key, name of the cause and episode, whether it stays.
    """
    found = []
    for one in alerts:
        causes = (
            Cause(cause.name, tuple(episode for episode in cause.episodes if keep(one.key, cause.name, episode)))
            for cause in one.causes
        )
        if left := tuple(cause for cause in causes if cause.episodes):
            found.append(replace(one, causes=left))
    return found


def rules(limits: Policy) -> str:
    """The limits as Prometheus alerting rules over the metrics of `claimed-med monitor serve`; a missing figure alerts.

    Source:
        Prometheus documentation, Alerting rules.
    """
    lines = ["groups:", f"- name: {json.dumps(limits.name)}", "  rules:"]
    for number, one in enumerate(limits.require, 1):
        name = "claimed_med_monitor" if one.bound == "value" else f"claimed_med_monitor_{one.bound}"
        figure = f'{name}{{report="{one.report}",metric="{one.metric}",group{_matcher(one.group)}}}'
        value = f"abs({figure})" if one.magnitude else figure
        broken = {">=": "<", ">": "<=", "<=": ">", "<": ">=", "==": "!="}[one.comparison]
        lines += [
            f"  - alert: claimed_med_{number}_{one.metric}",
            f"    expr: {json.dumps(f'{value} {broken} {one.limit:g} or absent({figure})')}",
            "    labels:",
            "      severity: warning",
            "    annotations:",
            f"      summary: {json.dumps(one.why or str(one))}",
        ]
    return "\n".join(lines) + "\n"


def _matcher(group: str) -> str:
    """How PromQL asks for a group; `sex=*` is every group of the attribute."""
    if not group.endswith("=*"):
        return f"={json.dumps(group)}"
    start = re.sub(r"([^\w =&])", r"\\\1", group.removesuffix("*"))
    return f"=~{json.dumps(start + '.+')}"


def _views(report: Mapping[str, Any]) -> list[_Judged]:
    """The report as if each whole window were the newest; the growing one where there is no other."""
    listed = report.get("windows", [])
    rows: dict[str, list[dict[str, Any]]] = {}
    for one in report.get("metrics", []):
        window, mark, rest = str(one.get("group")).partition(" & ")
        rows.setdefault(window, []).append({**one, "group": f"{LATEST}{mark}{rest}"})
    return [
        (one, {**report, "metrics": rows.get(f"window={one['name'].partition(':')[0]}", [])})
        for one in [one for one in listed if one["whole"]] or listed[-1:]
    ]


def _is_known(demand: Requirement, window: Mapping[str, Any] | None) -> bool:
    """Whether a window has enough cases, or truth, to say anything."""
    if window is None or demand.metric not in _FROM:
        return True
    listed = window.get(_FROM[demand.metric], [])
    if demand.metric == "n_worse":
        return bool(listed)
    return not listed or any(one["note"] != TOO_FEW for one in listed if one.get("group") != "all")


def _passed(demand: Requirement, judged: Sequence[_Judged], model: str) -> Iterator[Alert]:
    """One alert for every group that passes a limit in any of some windows, oldest first."""
    found: dict[str, tuple[int, policy.Reason, dict[str, list[int]]]] = {}
    for place, (window, view) in enumerate(judged):
        for reason in policy.judge(Policy("", (demand,)), {demand.report: view} if view else {}, model):
            if not reason.passed:
                causes = found[reason.group][2] if reason.group in found else {}
                for name in _causes(demand, window):
                    causes.setdefault(name, []).append(place)
                found[reason.group] = place, reason, causes
    for group, (place, reason, causes) in found.items():
        yield Alert(
            hashlib.sha256(json.dumps([model, reason.requirement, group]).encode()).hexdigest()[:16],
            reason.requirement,
            reason.value,
            reason.told,
            place == len(judged) - 1,
            tuple(Cause(name, tuple(_episodes(places, judged))) for name, places in causes.items()),
        )


def _episodes(places: Sequence[int], judged: Sequence[_Judged]) -> Iterator[Episode]:
    for _, run in itertools.groupby(enumerate(places), lambda pair: pair[1] - pair[0]):
        windows = [window for _, place in run if (window := judged[place][0]) is not None]
        if windows:
            names = tuple(str(one["name"]) for one in windows)
            yield Episode(windows[0]["span"][0], windows[-1]["span"][1], names)
        else:
            yield Episode(0.0, 0.0, ())


def _causes(demand: Requirement, window: Mapping[str, Any] | None) -> tuple[str, ...]:
    if window is None:
        return ("",)
    missing: Mapping[str, float] = window.get("quality", {}).get("missing", {})
    holds = COMPARISONS[demand.comparison]
    found = {
        "n_drifted": window.get("causes", []),
        "n_worse": window.get("worse", []),
        "max_missing": sorted(name for name, part in missing.items() if not holds(part, demand.limit)),
        "n_flagged": sorted(window.get("flagged", {})),
    }
    return tuple(found.get(demand.metric, ())) or ("",)
