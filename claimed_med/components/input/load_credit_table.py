"""Take over the German credit table of UCI."""

from __future__ import annotations

from typing import Annotated

from claimed_med.component import Location, component
from claimed_med.handles import Table


@component(version="1.0.0", tags=("ingest", "german credit", "fairness"), example={"path": "credit"})
def load_credit_table(*, path: Annotated[str, Location()] = "") -> Table:
    """Take over the German credit table of UCI.

    Names the columns of a german.data file and splits sex from marital status (A92 are the women). The copies of
    these data in other packages were found to have a scrambled sex column: take UCI's file.

    Args:
        path: The file, or a folder with one file whose name ends in `.data`; its name is never recorded.

    Returns:
        applicants: One row a credit, in the order of the file: twenty attributes, sex (F, M) and y (1 = good credit).

    Raises:
        InputError: There is no such file, or it has another form.

    Source:
        Hofmann 1994, doi:10.24432/C5NC77, CC BY 4.0.
    """
    from pathlib import Path

    from claimed_med.errors import InputError
    from claimed_med.trust import german_credit

    place = Path(path) if path else None
    if place is not None and place.is_dir():
        inside = sorted(place.rglob("*.data"))
        place = inside[0] if len(inside) == 1 else None
    if place is None or not place.is_file():
        raise InputError("load-credit-table", "needs one german.data file", do="set --path")
    return Table(german_credit.read(place))
