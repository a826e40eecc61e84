from __future__ import annotations

import pandas as pd
import pytest

from claimed_med.errors import InputError
from claimed_med.trust.predictions import judge


def _tables(n=6):
    keys = [f"1.{one}" for one in range(n)]
    score = [one / n for one in range(n)]
    cohort = pd.DataFrame({"sop_uid": keys, "patient_key": keys, "label": ["well", "ill"] * (n // 2), "split": "test"})
    predictions = pd.DataFrame(
        {
            "sop_uid": keys[::-1],
            "score": score[::-1],
            "predicted": "well",
            "threshold": 0.5,
            "positive": "ill",
            "model_digest": "m",
            "probability_well": [1 - one for one in score[::-1]],
            "probability_ill": score[::-1],
        }
    )
    return predictions, cohort


def test_rows_are_joined_by_uid_and_not_by_place():
    judged = judge(*_tables(), "test", "metric")
    assert list(judged.scored.scores) == sorted(judged.scored.scores)
    assert list(judged.scored.positive) == [False, True] * 3
    assert judged.classes == ["well", "ill"]


def test_the_rest_is_the_mirror_of_the_positive_class():
    judged = judge(*_tables(), "", "metric")
    assert list(judged.one_versus_rest("well").scores) == pytest.approx([1 - one for one in judged.scored.scores])


@pytest.mark.parametrize(
    ("table", "changes", "told"),
    [
        (0, {"model_digest": ["a", "b"] * 3}, "several models"),
        (0, {"score": [float("nan")] * 6}, "NaN"),
        (1, {"label": ["well", "odd"] * 3}, "no class of the model"),
        (1, {"label": "ill"}, "all or none"),
        (1, {"split": "train"}, "no image of the cohort has a prediction"),
    ],
)
def test_what_cannot_be_judged_is_said(table, changes, told):
    both = list(_tables())
    both[table] = both[table].assign(**changes)
    with pytest.raises(InputError, match=told):
        judge(*both, "test", "metric")


def test_missing_columns_are_named():
    predictions, cohort = _tables()
    with pytest.raises(InputError, match="threshold"):
        judge(predictions.drop(columns="threshold"), cohort, "test", "metric")
