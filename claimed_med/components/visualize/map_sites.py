"""Draw results by site on a map."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from claimed_med.component import Interval, component
from claimed_med.handles import Picture, Report, Table


class MapSitesOutputs(NamedTuple):
    """What map_sites returns."""

    picture: Picture
    map: Report


@component(
    version="1.0.0",
    image="map",
    tags=("map", "sites", "monitoring"),
    example={"results": "site_results", "sites": "site_places", "value": "score"},
)
def map_sites(
    results: Table, sites: Table, *, value: str = "score", min_rows: Annotated[int, Interval(1, 100_000)] = 10
) -> MapSitesOutputs:
    """Draw results by site on a map.

    The mean of a column for every site, over a relief of the world that comes with the package: no network is needed.
    Sites that only one of the tables has are listed.

    Args:
        results: Columns site and the value; one row a case, a window, a report.
        sites: Columns site, latitude and longitude [degrees, WGS 84].
        value: Column of numbers whose mean is shown.
        min_rows: Sites with fewer rows are drawn in grey, without their mean.

    Returns:
        picture: The map.
        map: The same figures as a table, and what could not be drawn.

    Raises:
        InputError: A column is missing, a place is none, a site has two places, or no site has a place.

    Source:
        Relief: Natural Earth, public domain, as cartopy brings it.
    """
    from claimed_med.trust import site_map

    report = site_map.by_site(results.load(), sites.load(), value, min_rows)
    drawn = site_map.picture(report)
    return MapSitesOutputs(Picture(drawn), Report(report, html=site_map.page(report, drawn)))
