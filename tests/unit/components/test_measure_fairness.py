from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import claimed_med as cm
from claimed_med.components.metric.measure_fairness import measure_fairness
from claimed_med.errors import InputError


def tables(*, planted=False, n=240):
    random = np.random.default_rng(3)
    keys = [f"1.2.{i}" for i in range(n)]
    sex = np.where(np.arange(n) % 2 == 0, "F", "M")
    ill = random.random(n) < 0.5
    score = np.clip(np.where(ill, 0.8, 0.2) + random.normal(0, 0.1, n), 0, 1)
    if planted:
        score[(sex == "F") & ill & (random.random(n) < 0.7)] = 0.1
    cohort = pd.DataFrame(
        {
            "sop_uid": keys,
            "patient_key": [f"p{i // 2}" for i in range(n)],
            "label": np.where(ill, "ill", "healthy"),
            "sex": sex,
            "age_band": np.where(np.arange(n) % 3 == 0, "40-59", "60-79"),
            "view": "PA",
            "split": "test",
        }
    )
    predictions = pd.DataFrame(
        {
            "sop_uid": keys,
            "patient_key": cohort["patient_key"],
            "score": score,
            "predicted": np.where(score >= 0.5, "ill", "healthy"),
            "threshold": 0.5,
            "positive": "ill",
            "model_digest": "abc",
            "probability_healthy": 1 - score,
            "probability_ill": score,
        }
    )
    return cm.Table(predictions), cm.Table(cohort)


def test_planted_bias_is_a_biased_verdict_and_fairness_a_fair_one():
    verdicts = measure_fairness(*tables(planted=True), n_bootstrap=100).load()["verdicts"]
    assert (verdicts["sex"]["verdict"], verdicts["view"]["verdict"]) == ("biased", "too few")
    assert measure_fairness(*tables(), n_bootstrap=100).load()["verdicts"]["sex"]["verdict"] == "fair"


def test_report_is_the_same_bytes_twice_and_names_the_model():
    first, second = (measure_fairness(*tables(), n_bootstrap=100, intersections=True) for _ in range(2))
    assert first.payload() == second.payload()
    assert {"report.json", "report.html", "fairness.png"} == set(first.payload())
    content = json.loads(first.payload()["report.json"])
    assert (content["kind"], content["model_digest"]) == ("fairness", "abc")
    assert any(
        one["group"] == "age_band=40-59 & sex=F" or "sex=F & age_band=40-59" in one["group"]
        for one in content["metrics"]
    )


def test_order_of_rows_does_not_matter():
    predictions, cohort = tables()
    shuffled = cm.Table(predictions.load().sample(frac=1, random_state=1))
    assert (
        measure_fairness(shuffled, cohort, n_bootstrap=100).load()
        == measure_fairness(predictions, cohort, n_bootstrap=100).load()
    )


def test_unknown_attribute_is_refused():
    with pytest.raises(InputError, match="scanner"):
        measure_fairness(*tables(), attributes=["scanner"])
