from __future__ import annotations

import ast
from pathlib import Path

import pytest

from claimed_med import registry
from claimed_med.targets import stub

PARTS = Path(__file__).parent.parent / "parts"


@pytest.fixture
def text():
    contracts = [registry.get(str(PARTS / f"{name}.py")).contract for name in ("count_rows", "copy_table")]
    return stub.render(contracts, {"Table": "claimed_med.handles", "Report": "claimed_med.handles"})


def test_stub_is_python(text):
    ast.parse(text)


def test_settings_are_keyword_only_and_ports_are_not(text):
    assert "def copy_table(table: Table, /, *, n_times: int = 1, strict: bool = False) -> _CopyTableOutputs:" in text


def test_several_outputs_are_a_named_tuple(text):
    assert "class _CopyTableOutputs(NamedTuple):\n    copied: Table\n    n_rows: int\n" in text


def test_public_names_are_re_exported(text):
    assert "from claimed_med.handles import Table as Table" in text
    assert "__all__: list[str] = ['Report', 'Table']" in text


def test_order_does_not_depend_on_the_order_of_the_components(text):
    assert text.index("def copy_table") < text.index("def count_rows")
