"""Cut a table of predictions into windows, by time or by count."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from claimed_med.errors import ContractError, InputError

_SIZE = re.compile(r"\s*([1-9]\d*)\s*(h|d|w)?\s*")
_UNITS = {"h": "h", "d": "D", "w": "W"}


@dataclass(frozen=True)
class Window:
    """Rows that are judged together.

    Attributes:
        name: Its number and, where the table has times, its first and last.
        table: The rows, in the order of time.
        whole: Whether it is as long as asked for; the last one may still grow.
        span: Times of its first and last row [s since 1970, UTC]; without times its number, twice.
    """

    name: str
    table: pd.DataFrame
    whole: bool
    span: tuple[float, float]


class Kept:
    """What was measured of windows before: taken over where neither name nor rows of a window have changed."""

    def __init__(self) -> None:
        self._kept: dict[str, dict[str, Any]] = {}

    def each(self, cut: Iterable[Window], measure: Callable[[Window], dict[str, Any]]) -> list[dict[str, Any]]:
        """Measure windows.

        Args:
            cut: Windows; what was kept of others is forgotten.
            measure: Must depend on the window only, for all calls of one object.
        """
        made = {}
        for one in cut:
            key = _digest(one)
            made[key] = self._kept[key] if key in self._kept else measure(one)
        self._kept = made
        return list(made.values())


def check_size(size: str, where: str) -> tuple[int, str]:
    """The number and the unit of a window; the unit '' for rows.

    Raises:
        ContractError: The size cannot be read.
    """
    told = _SIZE.fullmatch(size)
    if not told:
        raise ContractError(where, "the window cannot be read", got=repr(size), allowed="200 (rows), 24h, 7d, 4w")
    return int(told[1]), told[2] or ""


def windows(table: pd.DataFrame, size: str, where: str, *, time: str = "time") -> list[Window]:
    """Cut a table into windows, oldest first.

    Args:
        table: One row a prediction; column `time` (ISO 8601) where the size is a time.
        size: A number of rows (`200`), or hours, days, weeks (`24h`, `7d`, `4w`).
        where: The component that speaks.
        time: The column that holds the time.

    Raises:
        ContractError: The size cannot be read.
        InputError: No row, or no readable times where they are needed.
    """
    n, unit = check_size(size, where)
    if table.empty:
        raise InputError(where, "there is no prediction", do="wait for some, or check the filter")
    if time in table.columns:
        table = _ordered(table, time, where)
    elif unit:
        raise InputError(where, f"the table has no column {time!r}", do="give a window as a number of rows")
    cut = _by_time(table, time, n, unit) if unit else _by_count(table, n)
    return [
        Window(_name(number, rows, time), rows.reset_index(drop=True), whole, _span(number, rows, time))
        for number, (rows, whole) in enumerate(cut, 1)
    ]


def _ordered(table: pd.DataFrame, time: str, where: str) -> pd.DataFrame:
    times = pd.to_datetime(table[time], utc=True, errors="coerce", format="ISO8601")
    if times.isna().any():
        raise InputError(where, f"column {time!r} holds what is no time", got=f"{int(times.isna().sum())} rows")
    return table.assign(**{time: times}).sort_values(time, kind="stable", ignore_index=True)


def _by_count(table: pd.DataFrame, size: int) -> Iterator[tuple[pd.DataFrame, bool]]:
    for start in range(0, len(table), size):
        rows = table.iloc[start : start + size]
        yield rows, len(rows) == size


def _by_time(table: pd.DataFrame, time: str, size: int, unit: str) -> Iterator[tuple[pd.DataFrame, bool]]:
    step = pd.Timedelta(size, _UNITS[unit])
    start, newest = table[time].iloc[0].floor("D"), table[time].iloc[-1]
    number = ((table[time] - start) // step).astype(int)
    for one, rows in table.groupby(number, sort=True):
        yield rows, start + (int(one) + 1) * step <= newest


def _name(number: int, rows: pd.DataFrame, time: str) -> str:
    if time not in rows.columns:
        return f"{number}"
    first, last = rows[time].iloc[0], rows[time].iloc[-1]
    return f"{number}: {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}"


def _span(number: int, rows: pd.DataFrame, time: str) -> tuple[float, float]:
    if time not in rows.columns:
        return float(number), float(number)
    return rows[time].iloc[0].timestamp(), rows[time].iloc[-1].timestamp()


def _digest(window: Window) -> str:
    rows = pd.util.hash_pandas_object(window.table, index=False).to_numpy().tobytes()
    head = json.dumps([window.name, window.whole, *map(str, window.table.columns)])
    return hashlib.sha256(head.encode() + rows).hexdigest()
