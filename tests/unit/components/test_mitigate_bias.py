from __future__ import annotations

import io
import json
import logging

import numpy as np
import pandas as pd
import pytest

from claimed_med.components.input.load_credit_table import load_credit_table
from claimed_med.components.train.mitigate_bias import mitigate_bias
from claimed_med.errors import ContractError, InputError
from claimed_med.testing.credit import credit

FIVE = {
    "statistical_parity_difference": (-0.1, 0.1),
    "disparate_impact": (0.8, 1.25),
    "equal_opportunity_difference": (-0.1, 0.1),
    "average_odds_difference": (-0.1, 0.1),
    "theil_index": (0.0, 0.25),
}


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    return load_credit_table(path=str(credit(tmp_path_factory.mktemp("credit"))))


@pytest.fixture(scope="module")
def real(data):
    return load_credit_table(path=str(data / "tabular" / "german.data"))


@pytest.fixture(scope="module")
def two_splits(real):
    return mitigate_bias(real, n_splits=2, first_seed=77)


def payload(outputs):
    held = outputs.summary.payload()
    return json.loads(held["summary.json"]), pd.read_csv(io.BytesIO(held["predictions.csv"]))


def recomputed(part, column):
    """One split by AIF360 and nothing of ours."""
    logging.disable(logging.WARNING)
    try:
        from aif360.datasets import BinaryLabelDataset
        from aif360.metrics import ClassificationMetric
    finally:
        logging.disable(logging.NOTSET)
    options = {"label_names": ["y"], "protected_attribute_names": ["group"]}
    frame = part[["group", "y"]].astype(float).reset_index(drop=True)
    said = frame.assign(y=part[column].to_numpy(dtype=float))
    metric = ClassificationMetric(
        BinaryLabelDataset(df=frame, **options),
        BinaryLabelDataset(df=said, **options),
        unprivileged_groups=[{"group": 0}],
        privileged_groups=[{"group": 1}],
    )
    return {name: getattr(metric, name)() for name in FIVE}


def test_summary_can_be_recomputed_with_aif360_from_the_predictions(two_splits):
    summary, predictions = payload(two_splits)
    assert set(summary) == {"sex", "age"}
    for attribute, told in summary.items():
        assert [one["seed"] for one in told["splits"]] == [77, 78]
        for one in told["splits"]:
            part = predictions[(predictions["attribute"] == attribute) & (predictions["seed"] == one["seed"])]
            for when, column in (("after", "prediction"), ("before", "prediction_before")):
                found = recomputed(part, column)
                assert one[when] == pytest.approx(found, abs=1e-9)
                biased = sum(not low <= found[name] <= high for name, (low, high) in FIVE.items())
                assert one[f"n_biased_{when}"] == biased
                assert one[f"accuracy_{when}"] == pytest.approx((part["y"] == part[column]).mean())
            recalls = [(part.loc[part["y"] == y, "prediction"] == y).mean() for y in (0, 1)]
            assert one["balanced_accuracy_after"] == pytest.approx(np.mean(recalls))
        values = [one["n_biased_after"] for one in told["splits"]]
        assert told["mean"]["n_biased_after"] == pytest.approx(np.mean(values))


def test_predictions_are_about_the_rows_of_the_file(two_splits, data):
    _, predictions = payload(two_splits)
    lines = (data / "tabular" / "german.data").read_text().splitlines()
    fields = [lines[row].split() for row in predictions["row"]]
    assert (predictions["y"] == [int(one[20] == "1") for one in fields]).all()
    sex, age = predictions["attribute"] == "sex", predictions["attribute"] == "age"
    assert (predictions["group"][sex] == [int(one[8] != "A92") for one, s in zip(fields, sex, strict=True) if s]).all()
    assert (
        predictions["group"][age] == [int(int(one[12]) > 25) for one, a in zip(fields, age, strict=True) if a]
    ).all()
    assert set(predictions.groupby(["attribute", "seed"]).size()) == {300}
    assert not predictions.duplicated(["attribute", "seed", "row"]).any()


def test_mitigation_beats_plain_training_on_real_data(two_splits):
    summary, _ = payload(two_splits)
    for attribute in ("sex", "age"):
        mean = summary[attribute]["mean"]
        assert mean["n_biased_after"] <= mean["n_biased_before"]
        assert mean["accuracy_after"] > 0.72
        assert mean["balanced_accuracy_after"] > 0.6


def test_table_and_csv_hold_the_same_predictions(two_splits):
    pd.testing.assert_frame_equal(payload(two_splits)[1], two_splits.predictions.load())


def test_same_seed_gives_the_same_bytes_and_splits_do_not_hang_on_their_number(synthetic):
    first, second = (mitigate_bias(synthetic, n_splits=2, first_seed=4, method="reweighing") for _ in range(2))
    assert first.summary.payload() == second.summary.payload()
    alone = mitigate_bias(synthetic, n_splits=1, first_seed=5, method="reweighing")
    assert payload(alone)[0]["sex"]["splits"] == payload(first)[0]["sex"]["splits"][1:]


def test_other_methods_are_told_beside(synthetic):
    report = mitigate_bias(synthetic, n_splits=1, method="reweighing", compared=["threshold_optimizer"]).summary.load()
    assert [one["attribute"] for one in report["compared"]["threshold_optimizer"]] == ["sex", "age"]
    assert {one["group"] for one in report["metrics"]} == {"attribute=sex", "attribute=age"}


def test_unknown_attribute_or_method_is_refused(synthetic):
    with pytest.raises(ContractError, match="height"):
        mitigate_bias(synthetic, attributes=["height"])
    with pytest.raises(ContractError, match="magic"):
        mitigate_bias(synthetic, compared=["magic"])


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"german\.data"):
        load_credit_table(path=str(tmp_path))
