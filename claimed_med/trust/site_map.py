"""Results by site on a map of the world that needs no network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimed_med.errors import InputError, require
from claimed_med.trust import plot
from claimed_med.trust.metric import finite, shown
from claimed_med.trust.page import Page

_WHERE = "map-sites"
_SMALLEST, _LARGEST = 40.0, 400.0
_LEAST_HALF_DEGREES = 25.0  # narrower, the relief (half a degree a pixel) shows nothing that one knows


def by_site(results: pd.DataFrame, sites: pd.DataFrame, value: str, few: int) -> dict[str, Any]:
    """The mean of a column by site, with its place; sites in only one of the tables are listed.

    Args:
        results: Columns site and `value`, one row a case or a window.
        sites: Columns site, latitude and longitude [degrees, WGS 84].
        value: Column of `results`.
        few: Sites with fewer rows are counted, but their mean is withheld: it would speak of single patients.

    Raises:
        InputError: A column is missing, a place is no place, a site is listed twice, or no site has a place.
    """
    _check(results, sites, value)
    named = results.dropna(subset=["site"])
    counts = named.groupby(named["site"].astype(str))[value].agg(["count", "mean"])
    places = sites.assign(site=sites["site"].astype(str)).set_index("site")
    known = [name for name in counts.index if name in places.index]
    if not known:
        raise InputError(_WHERE, "no site of the results has a place", do="check the names of the sites")
    rows = [
        {
            "site": name,
            "latitude": float(places.loc[name, "latitude"]),
            "longitude": float(places.loc[name, "longitude"]),
            "n": int(counts.loc[name, "count"]),
            "mean": finite(counts.loc[name, "mean"]) if counts.loc[name, "count"] >= few else None,
        }
        for name in known
    ]
    return {
        "kind": "site map",
        "value": value,
        "sites": rows,
        "without_place": sorted(set(counts.index) - set(known)),
        "without_results": sorted(set(places.index) - set(known)),
        "without_site": int(results["site"].isna().sum()),
    }


def picture(report: dict[str, Any]) -> bytes:
    """The map as PNG: the colour is the mean, the area grows with the number of rows; grey where it is withheld."""
    crs = require("cartopy.crs", "map")
    rows = report["sites"]
    figure = Figure(figsize=(9, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot(projection=crs.PlateCarree())
    axes.stock_img().set_interpolation("bilinear")
    axes.set_extent(_extent(rows), crs=crs.PlateCarree())
    most = max(one["n"] for one in rows)
    sizes = [_SMALLEST + (_LARGEST - _SMALLEST) * one["n"] / most for one in rows]
    told = [one["mean"] for one in rows]
    for number, one in enumerate(rows):
        if one["mean"] is None:
            axes.scatter(one["longitude"], one["latitude"], s=sizes[number], c="#999999", edgecolors="black", zorder=3)
    seen = [number for number, mean in enumerate(told) if mean is not None]
    if seen:
        drawn = axes.scatter(
            [rows[number]["longitude"] for number in seen], [rows[number]["latitude"] for number in seen],
            s=[sizes[number] for number in seen], c=[told[number] for number in seen], cmap="viridis",
            edgecolors="black", zorder=3,
        )  # fmt: skip
        figure.colorbar(drawn, ax=axes, shrink=0.7, label=f"mean {report['value']}")
    for one in rows:
        axes.annotate(one["site"], (one["longitude"], one["latitude"]), xytext=(6, 6), textcoords="offset points",
                      fontsize=8, bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 1})  # fmt: skip
    return plot.png(figure)


def page(report: dict[str, Any], drawn: bytes) -> str:
    """The page of a map: the picture, and the same figures as a table."""
    made = Page("Results by site").picture(drawn, f"Mean {report['value']} by site; the area grows with the rows")
    made.table(
        ["site", "latitude", "longitude", "rows", f"mean {report['value']}"],
        [
            [one["site"], one["latitude"], one["longitude"], one["n"],
             "too few" if one["mean"] is None else shown(one["mean"])]
            for one in report["sites"]
        ],
    )  # fmt: skip
    for words, name in (("Without a place", "without_place"), ("Without results", "without_results")):
        if report[name]:
            made.paragraph(f"{words}: {', '.join(report[name])}.", tone="bad")
    return made.json(report).html()


def _check(results: pd.DataFrame, sites: pd.DataFrame, value: str) -> None:
    absent = sorted({"site", value} - set(results.columns)) + sorted({"site", "latitude", "longitude"} - set(sites))
    if absent:
        raise InputError(_WHERE, "a column is missing", got=", ".join(absent), do="see the ports")
    if not pd.api.types.is_numeric_dtype(results[value]):
        raise InputError(_WHERE, f"column {value!r} holds no numbers", do="name a column of numbers")
    places = sites[["latitude", "longitude"]].to_numpy(dtype=np.float64)
    if not (np.isfinite(places).all() and (np.abs(places) <= [90, 180]).all()):
        raise InputError(_WHERE, "a place is none", allowed="latitude -90 to 90, longitude -180 to 180 degrees")
    if sites["site"].astype(str).duplicated().any():
        raise InputError(_WHERE, "a site has two places", got=f"{int(sites['site'].duplicated().sum())} sites")


def _extent(rows: list[dict[str, Any]]) -> tuple[float, float, float, float]:
    """West, east, south, north [degrees] around all sites, at least as wide as half a continent."""
    east, north = np.array([[one["longitude"], one["latitude"]] for one in rows]).T
    half = max(_LEAST_HALF_DEGREES, 0.6 * float(np.ptp(east)), 1.1 * float(np.ptp(north)))
    across, along = float(east.min() + east.max()) / 2, float(north.min() + north.max()) / 2
    west, east_end = max(-180.0, across - half), min(180.0, across + half)
    return west, east_end, max(-90.0, along - half / 2), min(90.0, along + half / 2)
