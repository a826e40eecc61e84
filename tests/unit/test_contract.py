from __future__ import annotations

import pytest

from claimed_med.contract import Setting, check_value, parse_argument, to_argument
from claimed_med.errors import ContractError

SETTINGS = {
    bool: Setting("flag", bool, False, ""),
    int: Setting("count", int, 1, "", low=0, high=9),
    float: Setting("spacing_mm", float, 1.0, "", unit="mm", low=0.1, high=10),
    str: Setting("kind", str, "a", "", choices=("a", "b")),
    list: Setting("names", list[str], [], ""),
}


@pytest.mark.parametrize(("kind", "value"), [(bool, True), (int, 7), (float, 2.5), (str, "b"), (list, ["x", "y z"])])
def test_argument_round_trip_keeps_the_value(kind, value):
    assert parse_argument(SETTINGS[kind], to_argument(SETTINGS[kind], value)) == value


def test_an_engine_may_hand_an_integer_over_as_float():
    assert parse_argument(SETTINGS[int], "3.0") == 3


@pytest.mark.parametrize(
    ("kind", "text"),
    [(bool, "yes"), (int, "3.5"), (float, "wide"), (list, "a,b"), (int, "10"), (float, "0.01"), (str, "c")],
)
def test_a_value_outside_the_contract_is_refused_with_the_received_value(kind, text):
    with pytest.raises(ContractError, match=text.replace(".", r"\.")):
        parse_argument(SETTINGS[kind], text, "some-component")


def test_a_refusal_names_range_and_unit():
    with pytest.raises(ContractError, match=r"some-component: spacing_mm must lie in \[0.1, 10\] mm; got 50.0\."):
        check_value(SETTINGS[float], 50.0, "some-component")


def test_a_boolean_is_no_integer():
    with pytest.raises(ContractError):
        check_value(SETTINGS[int], True, "some-component")
