"""Count the rows of tables: the smallest component that is mapped over a folder of units."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Annotated, NamedTuple

from claimed_med.component import Interval, Location, Unit, component
from claimed_med.handles import Report, Table


class CountRowsOutputs(NamedTuple):
    """What count_rows returns."""

    count: Report
    passed: Table


@component(version="1.0.0", over="series")
def count_rows(
    table: Table,
    *,
    refuse_rows: int = -1,
    crash_rows: int = -1,
    die_rows: int = -1,
    pause_s: Annotated[float, Unit("s"), Interval(0, 60)] = 0.0,
    notes: Annotated[str, Location()] = "",
) -> CountRowsOutputs:
    """Count the rows of a table, and pass it on.

    Args:
        table: Any table.
        refuse_rows: Refuse a table of so many rows.
        crash_rows: Fail without a reason on a table of so many rows.
        die_rows: Kill the process on a table of so many rows.
        pause_s: How long to wait before the result [s].
        notes: Folder that gets one file per call; it tells the tests what was run. While a file `hold` lies beside it,
            tables of more than two rows wait.

    Returns:
        count: Number of rows.
        passed: The table as it came.

    Raises:
        InputError: A table of `refuse_rows` rows.
    """
    from claimed_med.errors import InputError

    n_rows = len(table.load())
    if notes:
        (Path(notes) / f".{n_rows}-{time.monotonic_ns()}").touch()
    if n_rows == refuse_rows:
        raise InputError("count-rows", "this number of rows is refused", got=n_rows, findings=["TooManyRows"])
    if n_rows == crash_rows:
        raise ValueError("a foreign message with DOE^JANE in it")
    if n_rows == die_rows:
        os.kill(os.getpid(), signal.SIGKILL)
    while notes and n_rows > 2 and (Path(notes).parent / "hold").exists():
        time.sleep(0.01)
    time.sleep(pause_s)
    return CountRowsOutputs(Report({"n_rows": n_rows}), table)
