"""Charts of the page of deployed models, as plotly figures in JSON: the page draws them without any other host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from claimed_med.trust.fairness import FAIR_RANGES
from claimed_med.trust.plot import COLOURS
from claimed_med.trust.subgroup import PAIRWISE

_HEIGHT = 320


def volume(report: Mapping[str, Any]) -> str:
    """Cases by window."""
    names, counts = _names(report), [one["n"] for one in report["windows"]]
    return _json(_figure("window", "cases").add_bar(x=names, y=counts, marker_color=COLOURS[0], name="cases"))


def scores(report: Mapping[str, Any]) -> str:
    """Score by window: median with quartiles, and 5 to 95 %."""
    known = [one for one in report["windows"] if one["score"]]
    names = _names({"windows": known})
    figure = _figure("window", "score", [0, 1])
    for low, high, label in ((0, 4, "5 to 95 %"), (1, 3, "quartiles")):
        spread = [one["score"][high] for one in known] + [one["score"][low] for one in reversed(known)]
        figure.add_scatter(x=names + names[::-1], y=spread, fill="toself", mode="none", name=label, opacity=0.4)
    figure.add_scatter(x=names, y=[one["score"][2] for one in known], mode="lines+markers", name="median")
    return _json(figure)


def effects(report: Mapping[str, Any]) -> str:
    """Change of every column by window."""
    names = _names(report)
    columns = [one["column"] for one in report["windows"][0]["tests"]]
    values = [[window["tests"][row]["effect"] for window in report["windows"]] for row in range(len(columns))]
    marks = [["drifted" if window["tests"][row]["drifted"] else "" for window in report["windows"]]
             for row in range(len(columns))]  # fmt: skip
    figure = _figure("window", "")
    figure.add_heatmap(
        x=names, y=columns, z=values, text=marks, texttemplate="%{text}", zmin=0, zmax=0.5, colorscale="Oranges"
    )
    return _json(figure.update_layout(height=120 + 28 * len(columns)))


def performance(report: Mapping[str, Any], names: Sequence[str] = ("auc", "ece")) -> str:
    """Figures of performance by window, with intervals; only windows whose truth is known."""
    figure = _figure("window", "", [0, 1])
    for number, name in enumerate(names):
        known = [one for one in report["windows"] if one["performance"].get(name, {}).get("value") is not None]
        if known:
            rows = [one["performance"][name] for one in known]
            _with_interval(figure, _names({"windows": known}), rows, name, COLOURS[number])
    return _json(figure)


def fairness(report: Mapping[str, Any], attribute: str, metric: str) -> str:
    """One metric of every group of an attribute by window; the fair range is shaded."""
    figure = _figure("window", metric.replace("_", " "))
    low, high = FAIR_RANGES[metric]
    figure.add_hrect(y0=low, y1=high, fillcolor=COLOURS[2], opacity=0.15, line_width=0)
    groups = sorted({one["group"] for window in report["windows"] for one in window["metrics"]
                     if one["group"].startswith(f"{attribute}=") and " & " not in one["group"]})  # fmt: skip
    for number, group in enumerate(groups):
        found = {str(window["name"]).partition(":")[0]: one for window in report["windows"]
                 for one in window["metrics"] if (one["group"], one["name"]) == (group, metric)
                 and one["value"] is not None}  # fmt: skip
        _with_interval(figure, list(found), list(found.values()), group, COLOURS[number % len(COLOURS)])
    return _json(figure)


METRICS = PAIRWISE


def _with_interval(
    figure: go.Figure, names: Sequence[str], rows: Sequence[Mapping[str, Any]], label: str, colour: str
) -> None:
    values = [one["value"] for one in rows]
    above = [0 if one["high"] is None else one["high"] - one["value"] for one in rows]
    below = [0 if one["low"] is None else one["value"] - one["low"] for one in rows]
    error = {"type": "data", "array": above, "arrayminus": below, "thickness": 1}
    figure.add_scatter(
        x=names, y=values, error_y=error, mode="lines+markers", name=label, line_color=colour, marker_color=colour
    )


def _names(report: Mapping[str, Any]) -> list[str]:
    return [str(one["name"]).partition(":")[0] for one in report["windows"]]


def _figure(x: str, y: str, span: Sequence[float] | None = None) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        template="none", height=_HEIGHT, margin={"l": 60, "r": 20, "t": 20, "b": 50}, xaxis_title=x, yaxis_title=y,
        xaxis_type="category", paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "y": 1.15},
    )  # fmt: skip
    if span is not None:
        figure.update_yaxes(range=span)
    return figure


def _json(figure: go.Figure) -> str:
    # nothing may end the script element in which the page carries it
    return str(figure.to_json()).replace("<", "\\u003c")
