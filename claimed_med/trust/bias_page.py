"""Plot and page of fairness over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claimed_med.trust import plot
from claimed_med.trust.fairness import FAIR_RANGES
from claimed_med.trust.metric import shown
from claimed_med.trust.page import Page, name_of
from claimed_med.trust.subgroup import PAIRWISE

_SHOWN = (*PAIRWISE, "false_negative_rate", "false_positive_rate", "auc")


def pictures(report: Mapping[str, Any]) -> dict[str, bytes]:
    """The four metrics of groups over the windows, fair ranges shaded: SVG."""
    figure, first = plot.new(9.5, 5.5)
    first.remove()
    for axes, name in zip(figure.subplots(2, 2).flat, PAIRWISE, strict=True):
        _panel(axes, name, report)
    return {"bias.svg": plot.svg(figure)}


def page(report: Mapping[str, Any], drawn: Mapping[str, bytes]) -> str:
    """The page of a report."""
    found = [one for one in report["windows"] if one["flagged"]]
    attributes = ", ".join(report["attributes"]) or "none"
    made = Page("Bias over time").paragraph(
        f"{len(report['windows'])} windows of {report['window']}; attributes: {attributes}. Every "
        "group against all others of its attribute; 95 % intervals by patient bootstrap."
    )
    for note in report.get("notes", []):
        made.paragraph(note[0].upper() + note[1:] + ".")
    if not report["windows"]:
        return made.json(report).html()
    made.verdict(found, report["windows"], "have a flagged group")
    made.heading("Windows").table(
        ["window", "n", "flagged", "why"],
        [
            [name_of(one), one["n"], ", ".join(one["flagged"]) or "none",
             "; ".join(f"{name}: {why}" for name, why in one["flagged"].items())]
            for one in report["windows"]
        ],
    )  # fmt: skip
    made.picture(drawn["bias.svg"], "Fairness metrics of every group by window; the shaded range is fair")
    for one in report["windows"]:
        made.heading(one["name"], 3).table(["group", "n", *(name.replace("_", " ") for name in _SHOWN)], _lines(one))
    return made.json(report).html()


def _panel(axes: Any, name: str, report: Mapping[str, Any]) -> None:
    low, high = FAIR_RANGES[name]
    axes.axhspan(low, high, color=plot.COLOURS[2], alpha=0.15, linewidth=0)
    series: dict[str, list[tuple[int, float]]] = {}
    for place, window in enumerate(report["windows"], 1):
        for one in window["metrics"]:
            if one["name"] == name and one["value"] is not None:
                series.setdefault(one["group"], []).append((place, one["value"]))
    for number, (label, points) in enumerate(sorted(series.items())):
        at, values = zip(*points, strict=True)
        axes.plot(at, values, marker="o", markersize=3, label=label, color=plot.COLOURS[number % len(plot.COLOURS)])
    axes.set_title(name.replace("_", " "), fontsize=9)
    axes.set_xlabel("window", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    if series:
        axes.legend(fontsize=6, ncols=2)


def _lines(window: Mapping[str, Any]) -> list[list[Any]]:
    groups: dict[str, dict[str, Mapping[str, Any]]] = {}
    for one in window["metrics"]:
        groups.setdefault(str(one["group"]), {})[str(one["name"])] = one
    return [
        [label, found[_SHOWN[0]]["n"], *(_cell(found.get(name)) for name in _SHOWN)]
        for label, found in groups.items()
        if _SHOWN[0] in found
    ]


def _cell(one: Mapping[str, Any] | None) -> str:
    return "-" if one is None else str(one["note"] or shown(one["value"], one["low"], one["high"]))
