from __future__ import annotations

import pickle
from typing import Annotated, NamedTuple

import pytest

from claimed_med import registry
from claimed_med.component import Interval, Unit, component, current
from claimed_med.errors import ContractError
from claimed_med.handles import Report, Table


def declare(function, **options):
    return component(version="1.0.0", category="local", **options)(function)


def test_the_signature_is_the_contract():
    def shrink_table(table: Table, *, factor_mm: Annotated[float, Unit("mm"), Interval(0, 1)] = 0.5) -> Report:
        """Shrink.

        Args:
            table: What to shrink.
            factor_mm: How much.

        Returns:
            shrunk: The result.
        """

    contract = declare(shrink_table).contract
    assert (contract.name, contract.inputs[0].kind, contract.outputs[0].name) == ("shrink-table", "Table", "shrunk")
    setting = contract.setting("factor_mm")
    assert (setting.unit, setting.low, setting.high, setting.default, setting.summary) == ("mm", 0, 1, 0.5, "How much.")


class TwoOutputs(NamedTuple):
    first: Report
    n_rows: int


def test_a_named_tuple_gives_several_outputs():
    def split(table: Table) -> TwoOutputs:
        """Split.

        Returns:
            first: One.
            n_rows: Two.
        """

    assert [(port.name, port.is_value) for port in declare(split).contract.outputs] == [
        ("first", False),
        ("n_rows", True),
    ]


@pytest.mark.parametrize(
    ("annotation", "default", "reason"),
    [
        (int | None, None, "type that no engine"),
        (int, None, "may not be None"),
        (dict, {}, "type that no engine"),
        (float, "x", "must be"),
    ],
)
def test_a_setting_that_no_engine_can_pass_is_refused(annotation, default, reason):
    def broken(table, *, option):
        """Break.

        Returns:
            out: Nothing.
        """

    broken.__annotations__ = {"table": Table, "option": annotation, "return": Report}
    broken.__kwdefaults__ = {"option": default}
    with pytest.raises(ContractError, match=reason):
        declare(broken)


def test_inputs_and_outputs_share_one_namespace():
    def loop(table: Table) -> Table:
        """Loop.

        Returns:
            table: The same name again.
        """

    with pytest.raises(ContractError, match="share names"):
        declare(loop)


def test_a_mapped_component_has_no_value_outputs():
    def count(table: Table) -> int:
        """Count.

        Returns:
            n_rows: A number.
        """

    with pytest.raises(ContractError, match="value outputs"):
        declare(count, over="series")


def test_a_component_survives_pickling(parts):
    original = registry.get("copy-table")
    assert pickle.loads(pickle.dumps(original)).contract == original.contract


def test_the_running_component_is_known_only_while_it_runs(table):
    seen = []

    def look(table: Table) -> Report:
        """Look.

        Returns:
            out: Nothing.
        """
        seen.append(current().name)
        return Report({})

    made = declare(look)
    made(Table(table))
    assert (seen, current()) == (["look"], None)
