"""Plots and page of a drift report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from claimed_med.trust import plot
from claimed_med.trust.metric import shown
from claimed_med.trust.page import Page, name_of

_LARGE = 0.25


def pictures(report: Mapping[str, Any]) -> dict[str, bytes]:
    """Change of every column over the windows, and the scores over the windows: SVG."""
    return {"drift.svg": _effects(report), "scores.svg": _scores(report)}


def page(report: Mapping[str, Any], drawn: Mapping[str, bytes]) -> str:
    """The page of a drift report."""
    found = [one for one in report["windows"] if one["drifted"] or one["worse"]]
    made = Page("Drift").paragraph(
        f"{report['n_predictions']} predictions in {len(report['windows'])} windows of {report['window']}, against "
        f"{report['n_reference']} of the reference. A column has drifted when it differs with a false discovery rate "
        f"of at most {report['rules']['alpha']:g} over all columns, and by at least {report['rules']['min_effect']:g} "
        "(population stability index beyond chance)."
    )
    made.verdict(found, report["windows"], "differ from the reference")
    made.heading("Windows").table(
        ["window", "n", "drifted, largest first", "worse", "new values", "most missing", "refused", "AUC", "ECE"],
        [_line(one) for one in report["windows"]],
    )
    made.picture(drawn["drift.svg"], "Change of every column (population stability index beyond chance) by window")
    made.picture(drawn["scores.svg"], "Scores by window: median, quartiles, 5 and 95 %")
    for one in found:
        made.heading(one["name"], 3).table(
            ["column", "test", "statistic", "p", "effect", "drifted", "new values"],
            [
                [test["column"], test["statistic"], shown(test["value"]), f"{test['p_value']:.2g}",
                 shown(test["effect"]), test["note"] or ("yes" if test["drifted"] else "no"), ", ".join(test["new"])]
                for test in one["tests"]
            ],
        )  # fmt: skip
    return made.json(report).html()


def _line(one: Mapping[str, Any]) -> list[Any]:
    quality, figures = one["quality"], one["performance"]
    new = "; ".join(f"{name}: {', '.join(values)}" for name, values in quality["new"].items())
    missing = max(quality["missing"].items(), key=lambda pair: pair[1], default=("", 0.0))
    told = [_figure(figures.get(name)) for name in ("auc", "ece")]
    return [
        name_of(one), one["n"], ", ".join(one["causes"]) or "none",
        ", ".join(one["worse"]) or "none", new or "none", f"{missing[0]} {missing[1]:.0%}" if missing[0] else "none",
        f"{quality['refused']:.1%}", *told,
    ]  # fmt: skip


def _figure(one: Mapping[str, Any] | None) -> str:
    return "no truth yet" if one is None else str(one["note"] or shown(one["value"], one["low"], one["high"]))


def _effects(report: Mapping[str, Any]) -> bytes:
    names = [test["column"] for test in report["windows"][0]["tests"]]
    values = np.array([[test["effect"] or 0.0 for test in one["tests"]] for one in report["windows"]]).T
    marks = [[test["drifted"] for test in one["tests"]] for one in report["windows"]]
    figure, axes = plot.new(max(5.0, 1.5 + 0.3 * len(marks)), 1.4 + 0.28 * len(names))
    shown_as = axes.imshow(np.minimum(values, 2 * _LARGE), cmap="Oranges", vmin=0, vmax=2 * _LARGE, aspect="auto")
    for column, row in ((c, r) for c, window in enumerate(marks) for r, drifted in enumerate(window) if drifted):
        axes.text(column, row, "x", ha="center", va="center", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_xticks(*_ticks(report["windows"]), fontsize=7)
    axes.set_xlabel("window (x = drifted)")
    figure.colorbar(shown_as, ax=axes, label="effect")
    return plot.svg(figure)


def _scores(report: Mapping[str, Any]) -> bytes:
    known = [(place, one["score"]) for place, one in enumerate(report["windows"]) if one["score"]]
    figure, axes = plot.new(6.5, 3.0)
    if known:
        at = [place for place, _ in known]
        low, first, median, third, high = np.array([spread for _, spread in known]).T
        axes.fill_between(at, low, high, color=plot.COLOURS[0], alpha=0.15, linewidth=0)
        axes.fill_between(at, first, third, color=plot.COLOURS[0], alpha=0.3, linewidth=0)
        axes.plot(at, median, color=plot.COLOURS[0], marker="o", markersize=3)
    axes.set_xticks(*_ticks(report["windows"]), fontsize=7)
    axes.set(ylim=(0, 1), xlabel="window", ylabel="score")
    return plot.svg(figure)


def _ticks(windows: Sequence[Mapping[str, Any]]) -> tuple[list[int], list[str]]:
    step = max(1, len(windows) // 20)
    places = list(range(0, len(windows), step))
    return places, [str(windows[place]["name"]).partition(":")[0] for place in places]
