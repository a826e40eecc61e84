"""Bars and page of a fairness report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from claimed_med.trust import plot
from claimed_med.trust.fairness import FAIR_RANGES
from claimed_med.trust.metric import shown
from claimed_med.trust.page import Page
from claimed_med.trust.subgroup import BIASED, FAIR, PAIRWISE

_GROUP = ("auc", "calibration_error", "false_negative_rate", "false_positive_rate", "selection_rate")
_WORDS = {name: name.replace("_", " ") for name in (*PAIRWISE, *_GROUP)}


def bars(metrics: Sequence[Mapping[str, Any]]) -> bytes:
    """One panel a metric, one bar a group, fair ranges shaded: PNG."""
    groups = list(dict.fromkeys(one["group"] for one in metrics if one["name"] == PAIRWISE[0]))
    figure, first = plot.new(11, 1.2 + 0.26 * max(len(groups), 2))
    first.remove()
    panels = figure.subplots(1, len(PAIRWISE), sharey=True)
    for axes, name in zip(panels, PAIRWISE, strict=True):
        found = {one["group"]: one for one in metrics if one["name"] == name}
        _panel(axes, name, [found[group] for group in groups])
    panels[0].set_yticks(range(len(groups)), groups)
    panels[0].set_ylim(len(groups) - 0.5, -0.5)
    return plot.png(figure)


def _panel(axes: Any, name: str, ordered: Sequence[Mapping[str, Any]]) -> None:
    low, high = FAIR_RANGES[name]
    base = 1.0 if name == "disparate_impact" else 0.0
    axes.axvspan(low, high, color=plot.COLOURS[2], alpha=0.15, linewidth=0)
    axes.axvline(base, color="#666666", linewidth=0.8)
    for place, one in enumerate(ordered):
        value = one["value"]
        if value is None:
            axes.text(base, place, f" {one['note']}", va="center", fontsize=7, color="#666666")
            continue
        colour = plot.COLOURS[0] if low <= value <= high else plot.COLOURS[1]
        axes.barh(place, value - base, left=base, color=colour, height=0.6)
        if one["low"] is not None:
            axes.plot([one["low"], one["high"]], [place, place], color="#000000", linewidth=1)
    axes.set_title(_WORDS[name], fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def page(report: Mapping[str, Any], drawn: bytes) -> str:
    """The page of a fairness report."""
    made = Page("Fairness").paragraph(
        f"{report['n_images']} images of {report['n_patients']} patients, split {report['subset'] or 'all'!r}; "
        f"positive class {report['positive']!r}. Every group against all others of its attribute; 95 % intervals by "
        f"patient bootstrap. Verdicts depend on: {', '.join(report['judged'])}."
    )
    for attribute, one in report["verdicts"].items():
        tone = {FAIR: "good", BIASED: "bad"}.get(one["verdict"], "")
        made.paragraph(f"{attribute}: {one['verdict']}{_reasons(one)}", tone=tone)
    made.picture(drawn, "Fairness metrics of every group; the shaded range is fair, lines are intervals")
    made.heading("Compared with all others").table(
        ["group", "n", *(_WORDS[n] for n in PAIRWISE)], _lines(report, PAIRWISE)
    )
    made.heading("What each group gets").table(["group", "n", *(_WORDS[n] for n in _GROUP)], _lines(report, _GROUP))
    return made.json(report).html()


def _reasons(verdict: Mapping[str, Any]) -> str:
    told = [
        f"{one['name']} of {one['group']} is {shown(one['value'], one['low'], one['high'])}"
        for one in verdict["reasons"]
    ]
    few = [f"too few to judge: {', '.join(verdict['too_few'])}"] if verdict["too_few"] else []
    return f" ({'; '.join(told + few)})" if told or few else ""


def _lines(report: Mapping[str, Any], names: Sequence[str]) -> list[list[Any]]:
    groups: dict[str, dict[str, Mapping[str, Any]]] = {}
    for one in report["metrics"]:
        groups.setdefault(str(one["group"]), {})[str(one["name"])] = one
    return [
        [group, found[names[0]]["n"], *(_cell(found[name]) for name in names)]
        for group, found in groups.items()
        if all(name in found for name in names)
    ]


def _cell(one: Mapping[str, Any]) -> str:
    return str(one["note"] or shown(one["value"], one["low"], one["high"]))
