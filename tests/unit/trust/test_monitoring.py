"""A deployed model over time: causes, data quality, performance once the truth arrives."""

from __future__ import annotations

import pandas as pd
import pytest

from claimed_med.errors import ContractError, InputError
from claimed_med.testing import predictions
from claimed_med.testing.predictions import Change
from claimed_med.trust import drift, monitoring

RULES = drift.Rules(n_permutations=999)
REFERENCE = predictions.table(400, 1)


def report(table, **changed):
    return monitoring.over_time(
        changed.get("reference", REFERENCE), table, "200", changed.get("columns", []), RULES, n_bootstrap=200
    )


def test_the_cause_of_a_drift_is_named_with_its_new_value():
    told = report(
        pd.concat([predictions.table(200, 2), predictions.table(200, 3, Change(new_scanner=0.5), start="2026-02-01")])
    )
    assert told["windows"][0]["causes"] == []
    assert "scanner" in told["windows"][1]["causes"]
    assert told["windows"][1]["quality"]["new"] == {"scanner": ["Delta 9"]}


def test_files_that_could_not_be_read_are_refused_and_make_no_attribute_missing():
    table = predictions.table(200, 2)
    blank = [name for name in table if name not in {"time", "case", "model_digest", "outcome"}]
    table.loc[:19, blank] = None
    table.loc[:19, "outcome"] = "InputError NotDicom"
    table.loc[20:29, "sex"] = None
    quality = report(table)["windows"][0]["quality"]
    assert quality["refused"] == pytest.approx(0.1)
    assert quality["missing"] == {"sex": pytest.approx(10 / 180)}


def test_a_model_that_does_worse_is_seen_once_the_truth_arrives():
    worse = predictions.table(200, 3, Change(missed_women=0.9))
    assert report(worse)["windows"][0]["worse"] == ["auc"]
    unknown = report(worse.assign(label=None))["windows"][0]
    assert unknown["performance"] == {}
    assert unknown["worse"] == []


@pytest.mark.parametrize("n_rows", [60, 200])
def test_no_more_than_five_percent_of_windows_do_worse_without_a_change(n_rows):
    told = monitoring.over_time(
        REFERENCE, predictions.table(100 * n_rows, 79), str(n_rows), ["sex"], RULES, n_bootstrap=100
    )
    assert len(told["windows"]) == 100
    assert sum(bool(one["worse"]) for one in told["windows"]) <= 5


def test_scores_that_are_no_longer_probabilities_are_worse():
    table = predictions.table(200, 4)
    assert report(table.assign(score=table["score"] ** 4))["windows"][0]["worse"] == ["ece"]


def test_rows_without_a_patient_are_not_one_patient():
    told = [report(predictions.table(200, 2).assign(patient_key=key))["windows"][0] for key in ("", None)]
    for window in told:
        assert window["performance"]["auc"]["low"] < window["performance"]["auc"]["high"]


def test_refused_cases_are_counted_and_not_tested():
    table = predictions.table(200, 2)
    table.loc[:19, "outcome"], table.loc[:19, "score"] = "InputError MissingSlice", None
    (window,) = report(table)["windows"]
    assert window["quality"]["refused"] == pytest.approx(0.1)
    assert not window["drifted"]


def test_figures_of_the_newest_whole_window_are_called_latest():
    told = report(
        pd.concat([predictions.table(200, 2, Change(new_scanner=0.9)), predictions.table(50, 3, start="2026-02-01")])
    )
    latest = {one["name"]: one["value"] for one in told["metrics"] if one["group"] == "latest"}
    assert told["latest"].startswith("1:")
    assert latest["n_drifted"] >= 1


def test_other_models_other_columns_and_other_words_are_refused():
    with pytest.raises(InputError, match="several models"):
        report(pd.concat([REFERENCE, REFERENCE.assign(model_digest="1" * 64)]))
    with pytest.raises(InputError, match="lack a column"):
        report(REFERENCE, columns=["weather"])
    with pytest.raises(InputError, match="no attribute in common"):
        report(REFERENCE, reference=REFERENCE[["time"]])
    words = REFERENCE.assign(label=REFERENCE["label"].map({"ill": "ill", "well": "gesund"}), predicted="healthy")
    with pytest.raises(ContractError, match="other words"):
        report(words.assign(label=words["label"].replace("ill", "krank")).assign(positive="krank"))
