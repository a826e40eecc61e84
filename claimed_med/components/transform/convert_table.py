"""Convert a table between Parquet and CSV."""

from __future__ import annotations

from typing import Literal

from claimed_med.component import component
from claimed_med.handles import Table


@component(version="1.0.0", tags=("csv", "parquet", "spark"), example={"table": "labels"})
def convert_table(
    table: Table,
    *,
    form: Literal["parquet", "csv"] = "parquet",
    text_columns: list[str] = [],  # noqa: B006 - never changed
    engine: Literal["local", "spark"] = "local",
) -> Table:
    """Convert a table between Parquet and CSV.

    In pieces, so that its size does not matter; the order of the rows is kept. CSV knows no types: they are found in its
    first megabytes, but for the columns that are named as text (numbers with leading zeros). Both engines give the same
    table.

    Args:
        table: One file, Parquet or CSV with a head line.
        form: What is written.
        text_columns: Columns of a CSV file that are text whatever they look like.
        engine: `local`, or `spark` for the cluster that SPARK_MASTER names (without: this machine).

    Returns:
        converted: The same rows in the other form.

    Raises:
        InputError: The table cannot be read, or has no such column.
        MissingDependencyError: Spark is asked for and not installed.
    """
    from claimed_med import scratch
    from claimed_med.trust import table_form

    place = scratch.temporary()
    target = place / f"table.{form}"
    converted = Table(target)
    scratch.remove_with(converted, place)
    table_form.convert(table.single_file(".parquet", ".csv"), target, text_columns=text_columns, engine=engine)
    return converted
