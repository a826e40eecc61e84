"""Figures of a segmentation model over many cases, from comparisons of single cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from claimed_med.trust import plot
from claimed_med.trust.bootstrap import interval
from claimed_med.trust.metric import Metric, shown
from claimed_med.trust.page import Page

FIGURES = ("dice", "hd95_mm", "nsd", "mean_surface_distance_mm")
_WORST = {"dice": 0.0, "nsd": 0.0}


def collect(cases: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Structure -> case -> figures.

    A structure that the reference has and the segmentation lacks has Dice and NSD 0 in that case; its distances are
    undefined. What is undefined is None and is counted, never left out silently.

    Args:
        cases: Unit key -> result of compare-segments.
    """
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for key, told in sorted(cases.items()):
        for one in told["segments"]:
            found.setdefault(str(one["label"]), {})[key] = {name: one.get(name) for name in FIGURES}
        for label in told["only_in_reference"]:
            found.setdefault(str(label), {})[key] = {name: _WORST.get(name) for name in FIGURES}
    return found


def metrics_of(structures: Mapping[str, Mapping[str, Any]], n_bootstrap: int, seed: int) -> list[Metric]:
    """Mean and median of every figure and structure, with bootstrap intervals over the cases.

    Args:
        structures: From `collect`.
        n_bootstrap: Bootstrap samples.
        seed: Of the bootstrap.
    """
    made: list[Metric] = []
    for label, cases in structures.items():
        group = f"structure={label}"
        for name in FIGURES:
            values = np.array([one[name] for one in cases.values() if one[name] is not None], dtype=np.float64)
            made.append(Metric(f"{name}_undefined", float(len(cases) - len(values)), group, n=len(cases)))
            if not len(values):
                made.append(Metric(name, None, group, n=0, note="undefined in every case"))
                continue
            drawn = np.random.default_rng(seed).integers(0, len(values), size=(n_bootstrap, len(values)))
            made.append(Metric(name, float(values.mean()), group, *interval(values[drawn].mean(axis=1)), len(values)))
            middles = np.median(values[drawn], axis=1)
            made.append(Metric(f"{name}_median", float(np.median(values)), group, *interval(middles), len(values)))
    return made


def picture(structures: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Dice of every case, one column a structure, as PNG."""
    figure, axes = plot.new(1.2 + 1.3 * len(structures), 3.4)
    for place, (_, cases) in enumerate(structures.items()):
        values = [one["dice"] for one in cases.values() if one["dice"] is not None]
        axes.scatter(place + np.linspace(-0.15, 0.15, len(values)), values, s=14, color=plot.COLOURS[0], alpha=0.7)
    axes.set_xticks(range(len(structures)), list(structures), rotation=15)
    axes.set(ylabel="Dice", ylim=(-0.02, 1.02), xlim=(-0.6, len(structures) - 0.4))
    return plot.png(figure)


def page(report: Mapping[str, Any], drawn: bytes) -> str:
    """The page of a report."""
    made = Page("Segmentation performance").paragraph(f"{report['n_cases']} cases; intervals (95 %) over the cases.")
    made.table(["structure", "figure", "n", "value"], _lines(report["metrics"]))
    return made.picture(drawn, "Dice of every case").json(report).html()


def _lines(metrics: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    return [
        [
            one["group"].removeprefix("structure="),
            one["name"],
            one["n"],
            one["note"] or shown(one["value"], one["low"], one["high"]),
        ]
        for one in sorted(metrics, key=lambda one: (one["group"], one["name"]))
    ]
