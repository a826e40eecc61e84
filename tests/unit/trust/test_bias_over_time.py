"""Bias over time: the group whose errors rise is flagged and named, no other."""

from __future__ import annotations

import pandas as pd
import pytest

from claimed_med.errors import ContractError, InputError
from claimed_med.testing import predictions
from claimed_med.testing.predictions import Change
from claimed_med.trust import bias_over_time as bias
from claimed_med.trust.fairness import FAIR_RANGES
from claimed_med.trust.subgroup import Rules

REFERENCE = predictions.table(600, 1)
LIMITS = bias.Limits(n_bootstrap=100)


def report(table, attributes=("sex", "age_band")):
    return bias.over_time(REFERENCE, table, "200", attributes, Rules(), LIMITS)


def test_a_group_whose_error_rate_rises_is_flagged_and_named():
    told = report(
        pd.concat([predictions.table(200, 2), predictions.table(200, 3, Change(missed_women=0.6), start="2026-02-01")])
    )
    assert told["windows"][0]["flagged"] == {}
    assert list(told["windows"][1]["flagged"]) == ["sex=F"]
    assert "false_negative_rate rose from" in told["windows"][1]["flagged"]["sex=F"]


def test_no_more_than_five_percent_of_windows_flag_a_group_without_a_change():
    told = bias.over_time(REFERENCE, predictions.table(100 * 200, 77), "200", ["sex", "age_band"], Rules(), LIMITS)
    assert len(told["windows"]) == 100
    assert sum(bool(one["flagged"]) for one in told["windows"]) <= 5


@pytest.mark.parametrize("images", [4, 8])
def test_images_of_one_patient_do_not_make_a_flag(images):
    each = predictions.table(10_000 // images, 78)
    table = each.loc[each.index.repeat(images)].reset_index(drop=True)
    told = bias.over_time(REFERENCE, table, "200", ["sex", "age_band"], Rules(), LIMITS)
    assert len(told["windows"]) == 50
    assert sum(bool(one["flagged"]) for one in told["windows"]) <= 2


def test_a_planted_rise_is_flagged_with_several_images_a_patient_and_without_patients():
    each = predictions.table(200, 3, Change(missed_women=0.6))
    doubled = each.loc[each.index.repeat(2)]
    for table in (doubled, each.assign(patient_key=""), each.assign(patient_key=None)):
        (window,) = bias.over_time(REFERENCE, table, "400", ["sex"], Rules(), LIMITS)["windows"]
        assert list(window["flagged"]) == ["sex=F"]


def test_rules_that_name_what_there_is_not_are_refused():
    with pytest.raises(InputError, match="no such reference group"):
        bias.over_time(REFERENCE, REFERENCE, "200", ["sex"], Rules(references=("sex=X",)), LIMITS)
    with pytest.raises(ContractError, match="judged"):
        bias.over_time(REFERENCE, REFERENCE, "200", ["sex"], Rules(judged=("beauty",)), LIMITS)


def test_every_window_and_group_has_the_five_metrics_with_intervals():
    (window,) = report(predictions.table(200, 2))["windows"]
    for name in FAIR_RANGES:
        found = {one["group"]: one for one in window["metrics"] if one["name"] == name}
        groups = ["all"] if name == "theil_index" else ["sex=F", "sex=M"]
        assert all(found[one]["low"] <= found[one]["value"] <= found[one]["high"] for one in groups)


def test_cases_without_truth_wait():
    table = predictions.table(400, 2)
    table.loc[:199, "label"] = None
    assert [one["n"] for one in report(table)["windows"]] == [200]
    for unknown in (table.assign(label=None), table.drop(columns="label")):
        told = report(unknown)
        assert (told["windows"], told["notes"]) == ([], ["the truth of no case is known yet"])
        assert [(one["name"], one["value"]) for one in told["metrics"]] == [("n_flagged", 0.0)]
    with pytest.raises(InputError, match="truth is known"):
        bias.over_time(REFERENCE.assign(label=None), table, "200", ["sex"], Rules(), LIMITS)


def test_an_attribute_that_is_not_there_is_left_out_with_a_note():
    table = predictions.table(200, 3, Change(missed_women=0.6)).drop(columns="age_band")
    told = bias.over_time(REFERENCE, table, "200", ["sex", "age_band"], Rules(references=("age_band=0-39",)), LIMITS)
    assert [list(one["flagged"]) for one in told["windows"]] == [["sex=F"]]
    assert told["notes"] == ["age_band is left out: reference or predictions lack it"]
    assert report(table, ["age_band"])["windows"] == []


def test_a_misspelled_attribute_is_an_error_that_names_the_right_ones():
    for table in (predictions.table(200, 2), predictions.table(200, 2).assign(label=None)):
        with pytest.raises(InputError, match=r"no such attribute; got 'sexe'; allowed age_band, .*scanner, sex, site"):
            report(table, ["sexe", "age_band"])


def test_attributes_that_a_server_records_may_be_in_no_table():
    table = predictions.table(200, 2).drop(columns=["sex", "age_band"])
    told = bias.over_time(REFERENCE.drop(columns="sex"), table, "200", ["sex", "site"], Rules(), LIMITS)
    assert told["notes"] == [f"{one} is left out: reference or predictions lack it" for one in ("sex", "site")]


def test_an_attribute_that_is_empty_in_a_window_is_a_note():
    table = predictions.table(400, 2)
    table.loc[200:, "sex"] = None
    assert report(table)["notes"] == ["sex is empty in 1 of 2 windows: 2"]
