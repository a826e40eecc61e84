from __future__ import annotations

from pathlib import Path

import pytest

from claimed_med import registry
from claimed_med.targets import docs

PARTS = Path(__file__).parent.parent / "parts"


@pytest.fixture
def contract():
    return registry.get(str(PARTS / "copy_table.py")).contract


def test_page_tells_every_port_and_setting(contract):
    page = docs.render(contract)
    for one in (*contract.inputs, *contract.outputs, *contract.settings):
        assert f"| `{one.name}` |" in page
        assert one.summary in page


def test_page_tells_ranges_and_defaults(contract):
    assert "| `n_times` | int | `1` | 1 to 5 |" in docs.render(contract)


def test_page_names_the_errors(contract):
    assert "## Errors\n\nInputError: The table is empty" in docs.render(contract)


def test_bar_in_a_text_does_not_break_the_table(contract):
    row = next(line for line in docs.table([contract], "").splitlines() if "copy-table" in line)
    assert row.count("|") == 4
    assert docs._cell("a | b") == "a \\| b"


def test_table_names_a_category_once(contract):
    other = registry.get(str(PARTS / "count_rows.py")).contract
    table = docs.table([contract, other], "pages/")
    assert table.count("| local |") == 1
    assert "[count-rows](pages/count-rows.md)" in table


def test_location_appears_in_the_command(contract):
    other = registry.get(str(PARTS / "count_rows.py")).contract
    assert "--notes notes/" in docs.render(other)
    assert "--notes" not in docs.render(contract)
