"""Take over a table from a CSV or Parquet file."""

from __future__ import annotations

from typing import Annotated

from claimed_med.component import Location, component
from claimed_med.handles import Table


@component(version="1.0.0", tags=("ingest", "csv", "parquet"), example={"path": "labels"})
def load_table(*, path: Annotated[str, Location()] = "", columns: list[str] = []) -> Table:  # noqa: B006 - never changed
    """Take over a table from a CSV or Parquet file.

    Name the columns that are needed: what is not taken over cannot identify anybody later.

    Args:
        path: File, or folder with one such file; its content is digested, its name is never recorded.
        columns: Columns to take over, in this order; all when empty.

    Returns:
        table: The rows, in the order of the file.

    Raises:
        InputError: There is no such file, it cannot be read, or a column is not in it.
    """
    from pathlib import Path

    from claimed_med.errors import InputError

    if not path:
        raise InputError("load-table", "no file was named", do="set --path")
    found = Table(Path(path)).load()
    absent = sorted(set(columns) - set(found.columns))
    if absent:
        raise InputError(
            "load-table", "the table has no such column", got=", ".join(absent), allowed=", ".join(found.columns)
        )
    return Table(found[columns] if columns else found)
