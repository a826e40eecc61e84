"""Plots and page of a classifier's performance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from claimed_med.trust import plot
from claimed_med.trust.metric import shown
from claimed_med.trust.page import Page
from claimed_med.trust.performance import Scored

_SHOWN = ("auc", "sensitivity", "specificity", "ppv", "npv", "balanced_accuracy", "ece")


def pictures(report: Mapping[str, Any], scored: Scored) -> dict[str, bytes]:
    """ROC, precision-recall, reliability, confusion matrix and scores: file name -> PNG and SVG."""
    made = {}
    for name, figure in (
        ("roc", _roc(report)),
        ("precision_recall", _precision_recall(report)),
        ("reliability", _reliability(report)),
        ("confusion", _confusion(report)),
        ("scores", _scores(scored, report)),
    ):
        made[f"{name}.png"], made[f"{name}.svg"] = plot.png(figure), plot.svg(figure)
    return made


def page(report: Mapping[str, Any], drawn: Mapping[str, bytes]) -> str:
    """The page of a report."""
    made = Page("Performance")
    made.paragraph(
        f"{report['n_images']} images of {report['n_patients']} patients, split {report['subset'] or 'all'!r}; "
        f"positive class {report['positive']!r}, threshold {report['threshold']:.3f} (chosen on validation)."
    )
    made.heading("By group").paragraph("95 % intervals by patient bootstrap.").table(
        ["group", "n", *_SHOWN], _lines(report["metrics"])
    )
    for name, alt in (
        ("roc", "ROC curve"),
        ("precision_recall", "Precision against recall"),
        ("reliability", "Reliability: part that is positive against mean score, in bins of equal size"),
        ("confusion", "Confusion matrix: rows are the truth"),
        ("scores", "Scores of both classes"),
    ):
        made.picture(drawn[f"{name}.svg"], alt)
    return made.json({key: value for key, value in report.items() if key != "curves"}).html()


def _lines(metrics: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    groups: dict[str, dict[str, Mapping[str, Any]]] = {}
    for one in metrics:
        groups.setdefault(str(one["group"]), {})[str(one["name"])] = one
    return [
        [group, found["auc"]["n"], *(_cell(found.get(name, {})) for name in _SHOWN)]
        for group, found in groups.items()
        if "auc" in found
    ]


def _cell(one: Mapping[str, Any]) -> str:
    return str(one.get("note") or shown(one.get("value"), one.get("low"), one.get("high")))


def _roc(report: Mapping[str, Any]) -> Any:
    figure, axes = plot.new(4, 4)
    curve = report["curves"]["roc"]
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
    axes.step(curve["false_positive_rate"], curve["true_positive_rate"], where="post", color=plot.COLOURS[0])
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    return figure


def _precision_recall(report: Mapping[str, Any]) -> Any:
    figure, axes = plot.new(4, 4)
    curve = report["curves"]["precision_recall"]
    axes.step(curve["recall"], curve["precision"], where="pre", color=plot.COLOURS[0])
    axes.set(xlabel="recall", ylabel="precision", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    return figure


def _reliability(report: Mapping[str, Any]) -> Any:
    figure, axes = plot.new(4, 4)
    bins = report["curves"]["reliability"]
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
    axes.plot([one["score"] for one in bins], [one["positive"] for one in bins], marker="o", color=plot.COLOURS[0])
    axes.set(xlabel="mean score", ylabel="part that is positive", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    return figure


def _confusion(report: Mapping[str, Any]) -> Any:
    names, counts = report["classes"], np.asarray(report["confusion"])
    size = 1.6 + 0.9 * len(names)
    figure, axes = plot.new(size + 0.8, size)
    axes.imshow(counts, cmap="Blues", vmin=0)
    for row, column in np.ndindex(*counts.shape):
        dark = counts[row, column] > counts.max() / 2
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color="white" if dark else "black")
    axes.set_xticks(range(len(names)), names, rotation=20)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="truth")
    return figure


def _scores(scored: Scored, report: Mapping[str, Any]) -> Any:
    figure, axes = plot.new(5, 3)
    bins = [float(one) for one in np.linspace(0, 1, 21)]
    for number, (name, rows) in enumerate((("others", ~scored.positive), (report["positive"], scored.positive))):
        axes.hist(scored.scores[rows], bins=bins, alpha=0.6, label=name, color=plot.COLOURS[number])
    axes.axvline(report["threshold"], color="#444444", linestyle="--", linewidth=0.8)
    axes.set(xlabel="score", ylabel="images")
    axes.legend(frameon=False)
    return figure
