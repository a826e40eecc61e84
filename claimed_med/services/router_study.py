"""Judge a study: which rule it falls under, why not under the others, and whether it is whole."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from claimed_med.dicom import rules
from claimed_med.dicom.header import NotReadable, open_instance, text
from claimed_med.dicom.selection import WithCounts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from claimed_med.services.router_rules import RouteRule

_MOST_REASONS = 3


@dataclass(frozen=True)
class SeriesSeen:
    """A series as far as it has come in.

    Attributes:
        series_uid: SeriesInstanceUID.
        header: Header of its first object, with NumberOfSlices = number of objects.
    """

    series_uid: str
    header: Any


@dataclass(frozen=True)
class Verdict:
    """What the rules say of a study.

    Attributes:
        rule: The first that matches, None when none does.
        why_not: Name of every other rule -> reasons.
        missing: Required series that are not there, as written in the rule.
    """

    rule: RouteRule | None
    why_not: Mapping[str, list[str]]
    missing: tuple[str, ...]

    @property
    def words(self) -> str:
        """Why a study falls under no rule, in one line."""
        return "; ".join(f"{name}: {', '.join(reasons[:_MOST_REASONS])}" for name, reasons in self.why_not.items())


def series_of(files: Mapping[str, Iterable[Path]]) -> list[SeriesSeen]:
    """The series of a study.

    Args:
        files: SeriesInstanceUID -> its files; of each series one readable file is read.
    """
    found = []
    for uid, paths in sorted(files.items()):
        listed = sorted(paths)
        for path in listed:
            try:
                header = open_instance(path).dataset
            except NotReadable:
                continue
            found.append(SeriesSeen(uid, WithCounts(header, {"NumberOfSlices": len(listed)})))
            break
    return found


def by_series(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Sort files by SeriesInstanceUID; what is no DICOM object is left out."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        try:
            found[text(open_instance(path).dataset, "SeriesInstanceUID")].append(path)
        except NotReadable:
            continue
    return dict(found)


def judge(series: Iterable[SeriesSeen], listed: Iterable[RouteRule]) -> Verdict:
    """Hold a study against the rules, in their order."""
    seen, chosen = list(series), None
    why_not: dict[str, list[str]] = {}
    for rule in listed:
        reasons = _why_no_series(rules.parse(rule.when), seen)
        if chosen is None and not reasons:
            chosen = rule
        else:
            why_not[rule.name] = reasons or [f"it matches, but {chosen.name if chosen else ''} stands before it"]
    missing = chosen.complete.required if chosen else ()
    return Verdict(chosen, why_not, tuple(one for one in missing if _why_no_series(rules.parse(one), seen)))


def _why_no_series(rule: rules.Rule, series: list[SeriesSeen]) -> list[str]:
    """Every reason why no series matches; empty when one does."""
    reasons: dict[str, None] = {}
    for one in series:
        found = rule.why_not(one.header)
        if not found:
            return []
        reasons |= dict.fromkeys(found)
    return list(reasons) or ["no series can be read"]
