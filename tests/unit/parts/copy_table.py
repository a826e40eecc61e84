"""Copy a table: the smallest component with a setting and a value output."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from claimed_med.component import Interval, component
from claimed_med.handles import Table


class CopyTableOutputs(NamedTuple):
    """What copy_table returns."""

    copied: Table
    n_rows: int


@component(version="1.0.0", example={})
def copy_table(table: Table, *, n_times: Annotated[int, Interval(1, 5)] = 1, strict: bool = False) -> CopyTableOutputs:
    """Copy a table.

    Args:
        table: Any table.
        n_times: How often its rows are repeated.
        strict: Whether an empty table is an error.

    Returns:
        copied: The rows, repeated.
        n_rows: Rows of the result.

    Raises:
        InputError: The table is empty, and `strict` is true.
    """
    import pandas as pd

    from claimed_med.errors import InputError

    rows = table.load()
    if strict and rows.empty:
        raise InputError("copy-table", "the table is empty", do="pass one with rows")
    copied = pd.concat([rows] * n_times, ignore_index=True)
    return CopyTableOutputs(Table(copied), len(copied))
