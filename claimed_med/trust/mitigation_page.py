"""The page of a mitigation report: each metric before and after, split by split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from claimed_med.trust import plot
from claimed_med.trust.fairness import FAIR_RANGES
from claimed_med.trust.metric import shown
from claimed_med.trust.page import Page

_KEPT = ("accuracy", "balanced_accuracy", "n_biased")
_SINGLE = ("seed", "accuracy_before", "accuracy_after", "balanced_accuracy_after", "n_biased_before", "n_biased_after")


def dots(summary: Mapping[str, Mapping[str, Any]]) -> bytes:
    """One panel a metric, every split a dot before and after mitigation, the fair range shaded: PNG."""
    figure, first = plot.new(11, 0.9 + 1.1 * len(summary))
    first.remove()
    panels = figure.subplots(1, len(FAIR_RANGES), sharey=True)
    lines = [(attribute, when) for attribute in summary for when in ("before", "after")]
    for axes, (name, (low, high)) in zip(panels, FAIR_RANGES.items(), strict=True):
        axes.axvspan(low, high, color=plot.COLOURS[2], alpha=0.15, linewidth=0)
        for place, (attribute, when) in enumerate(lines):
            values = [one[when][name] for one in summary[attribute]["splits"]]
            known = [value for value in values if value is not None]
            axes.plot(known, [place] * len(known), "o", alpha=0.35, markersize=4, color=plot.COLOURS[when == "before"])
        axes.set_title(name.replace("_", " "), fontsize=8)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(lines)), [" ".join(one) for one in lines])
    panels[0].set_ylim(len(lines) - 0.5, -0.5)
    return plot.png(figure)


def page(report: Mapping[str, Any], summary: Mapping[str, Mapping[str, Any]], drawn: bytes) -> str:
    """The page of a mitigation report."""
    made = Page("Bias before and after mitigation").paragraph(
        f"Method {report['method']} against a logistic regression, {report['n_splits']} splits of 70/30 from seed "
        f"{report['first_seed']}. Nothing was chosen on a test part. A constant predictor has 0 biased metrics and a "
        "balanced accuracy of 0.5: read both. Intervals (95 %) of means are corrected for rows that splits share."
    )
    for attribute, one in summary.items():
        names = [*_KEPT, *FAIR_RANGES]
        made.heading(attribute).table(
            ["mean over splits", "before", "after", "median before", "median after"],
            [[name.replace("_", " "), *_cells(one, name)] for name in names],
        )
    made.picture(drawn, "Metrics of every split before and after mitigation; the shaded range is fair")
    _compared(made, report["compared"])
    for attribute, one in summary.items():
        made.heading(f"Every split: {attribute}", 3).table(
            [*_SINGLE, *FAIR_RANGES], [[*(s[name] for name in _SINGLE), *s["after"].values()] for s in one["splits"]]
        )
    return made.json(report).html()


def _cells(one: Mapping[str, Any], name: str) -> list[str]:
    keys = [f"{name}_{when}" for when in ("before", "after")]
    means = [shown(one["mean"][key], *(one["interval_of_mean"][key] or (None, None))) for key in keys]
    return [*means, *(shown(one["median"][key]) for key in keys)]


def _compared(made: Page, others: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    lines = [[method, *one.values()] for method, attributes in others.items() for one in attributes]
    if lines:
        header = ["method", "attribute", "accuracy", "balanced accuracy", "mean biased", "median biased"]
        made.heading("Other methods on the same splits").table(header, lines)
