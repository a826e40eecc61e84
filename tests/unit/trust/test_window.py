"""Windows hold every row once, in the order of time."""

from __future__ import annotations

import pandas as pd
import pytest

from claimed_med.errors import ContractError, InputError
from claimed_med.trust.window import Kept, windows

TABLE = pd.DataFrame({"time": pd.date_range("2026-03-01", periods=50, freq="6h", tz="UTC").astype(str), "n": range(50)})


@pytest.mark.parametrize(("size", "counts"), [("20", [20, 20, 10]), ("7d", [28, 22]), ("24h", [4] * 12 + [2])])
def test_every_row_is_in_one_window(size, counts):
    found = windows(TABLE.sample(frac=1, random_state=0), size, "test")
    assert [len(one.table) for one in found] == counts
    assert [n for one in found for n in one.table["n"]] == list(range(50))


def test_only_the_last_window_may_still_grow():
    assert [one.whole for one in windows(TABLE, "20", "test")] == [True, True, False]
    assert [one.whole for one in windows(TABLE, "7d", "test")] == [True, False]


def test_a_window_spans_the_times_of_its_rows_or_is_its_number():
    first, second, _ = windows(TABLE, "20", "test")
    start = pd.Timestamp("2026-03-01", tz="UTC").timestamp()
    assert first.span == (start, start + 19 * 6 * 3600)
    assert second.span[0] == start + 20 * 6 * 3600
    assert [one.span for one in windows(TABLE[["n"]], "20", "test")] == [(1, 1), (2, 2), (3, 3)]


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(ContractError, match="window cannot be read"):
        windows(TABLE, "soon", "test")
    with pytest.raises(InputError, match="no prediction"):
        windows(TABLE[:0], "20", "test")
    with pytest.raises(InputError, match="no time"):
        windows(TABLE.assign(time="yesterday"), "20", "test")
    with pytest.raises(InputError, match="no column 'time'"):
        windows(TABLE[["n"]], "7d", "test")


def test_only_windows_that_have_changed_are_measured_again():
    kept, measured = Kept(), []

    def measure(window):
        measured.append(window.name.partition(":")[0])
        return {"sum": int(window.table["n"].sum())}

    def told(table):
        measured.clear()
        return [one["sum"] for one in kept.each(windows(table, "20", "test"), measure)], list(measured)

    assert told(TABLE[:45]) == ([190, 590, 210], ["1", "2", "3"])
    assert told(TABLE[:45]) == ([190, 590, 210], [])
    assert told(TABLE) == ([190, 590, 445], ["3"]), "the last has grown"
    assert told(TABLE.assign(n=[1000, *range(1, 50)])) == ([1190, 590, 445], ["1"]), "a value of the first has changed"
    assert told(TABLE.assign(label="ill"))[1] == ["1", "2", "3"], "a column has come"
