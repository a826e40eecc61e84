"""One measured figure with its interval: what every metric report lists and the only thing that the gate reads."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

TOO_FEW = "too few"


@dataclass(frozen=True)
class Metric:
    """A figure.

    Attributes:
        name: The statistic's usual name in snake case, `auc`.
        value: The point estimate, or None when it cannot be computed.
        group: `all`, or `attribute=value`; intersections are joined by ` & `.
        low: Lower bound of the interval.
        high: Upper bound of the interval.
        n: Rows it was computed from.
        note: Why there is no value, such as `too few`.
    """

    name: str
    value: float | None
    group: str = "all"
    low: float | None = None
    high: float | None = None
    n: int = 0
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: what is not finite becomes None."""
        return {
            "name": self.name,
            "group": self.group,
            "value": finite(self.value),
            "low": finite(self.low),
            "high": finite(self.high),
            "n": int(self.n),
            "note": self.note,
        }


def finite(value: float | None) -> float | None:
    """A plain float, or None for what is missing, NaN or infinite."""
    return float(value) if value is not None and math.isfinite(value) else None


def rows(metrics: Iterable[Metric]) -> list[dict[str, Any]]:
    """The `metrics` of a report, sorted by name and group.

    Raises:
        ValueError: Two figures have the same name and group.
    """
    listed = sorted((one.as_dict() for one in metrics), key=lambda one: (one["name"], one["group"]))
    twice = {(a["name"], a["group"]) for a, b in pairwise(listed) if (a["name"], a["group"]) == (b["name"], b["group"])}
    if twice:
        raise ValueError(f"figures are listed twice: {sorted(twice)}")
    return listed


def shown(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """A figure as a person reads it: `0.713 (0.601-0.812)`; a dash for what is missing."""
    if value is None or not math.isfinite(value):
        return "-"
    bounds = finite(low), finite(high)
    told = f"{value:.3f}"
    return told if None in bounds else f"{told} ({bounds[0]:.3f} to {bounds[1]:.3f})"
