"""Where data enter the pipelines of the engine's tests."""

from __future__ import annotations

from typing import Annotated

from claimed_med.component import Location, component
from claimed_med.handles import Table


@component(version="1.0.0")
def make_table(*, path: Annotated[str, Location()] = "") -> Table:
    """Read a table from a file.

    Args:
        path: A CSV file.

    Returns:
        table: The table.
    """
    import pandas as pd

    return Table(pd.read_csv(path))
