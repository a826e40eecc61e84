"""A small component with a value, for pipelines of the engine's tests."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Annotated, NamedTuple

from claimed_med.component import Interval, Location, Unit, component
from claimed_med.handles import Table


class CountLinesOutputs(NamedTuple):
    """What count_lines returns."""

    grown: Table
    n_lines: int


@component(version="1.0.0")
def count_lines(
    table: Table,
    *,
    n_more: Annotated[int, Interval(0, 1000)] = 0,
    fail_times: Annotated[int, Interval(0, 100)] = 0,
    die: bool = False,
    pause_s: Annotated[float, Unit("s"), Interval(0, 60)] = 0.0,
    notes: Annotated[str, Location()] = "",
) -> CountLinesOutputs:
    """Add rows to a table and count them.

    Args:
        table: Any table.
        n_more: Rows to add.
        fail_times: Fail so many times first; counted in `notes`.
        die: Kill the process.
        pause_s: How long to wait [s].
        notes: Folder that gets one hidden file per call.

    Returns:
        grown: The table with more rows.
        n_lines: Its rows.

    Raises:
        InputError: While `fail_times` is not reached.
    """
    import pandas as pd

    from claimed_med.errors import InputError

    if notes:
        (Path(notes) / f".{os.getpid()}-{time.monotonic_ns()}").touch()
    time.sleep(pause_s)
    if die:
        os.kill(os.getpid(), signal.SIGKILL)
    if notes and len(list(Path(notes).glob(".*"))) <= fail_times:
        raise InputError("count-lines", "it is not time yet", do="wait")
    rows = table.load()
    grown = pd.concat([rows, *[rows.tail(1)] * n_more], ignore_index=True)
    return CountLinesOutputs(Table(grown), len(grown))
