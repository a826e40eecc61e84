from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from claimed_med.errors import ContractError, InputError
from claimed_med.trust import calibration, delong, operating_point, performance
from claimed_med.trust.bootstrap import interval, patient_weights
from claimed_med.trust.metric import Metric, rows, shown


def scored(n=200, seed=0, strength=1.0, rows_a_patient=1):
    generator = np.random.default_rng(seed)
    positive = generator.random(n) < 0.4
    scores = 1 / (1 + np.exp(-(generator.normal(0, 1, n) + strength * (positive - 0.5) * 2)))
    scores = np.round(scores, 2)  # ties
    patients = np.array([str(number // rows_a_patient) for number in range(n)])
    return performance.Scored(scores, positive, scores >= 0.5, patients)


def ones(one):
    return np.ones((1, len(one)))


@pytest.mark.parametrize("seed", range(5))
def test_figures_are_those_of_scikit_learn(seed):
    one = scored(seed=seed)
    assert performance.auc(one, ones(one))[0] == pytest.approx(reference.roc_auc_score(one.positive, one.scores))
    wanted = reference.average_precision_score(one.positive, one.scores)
    assert performance.average_precision(one, ones(one))[0] == pytest.approx(wanted)
    brier = calibration.brier(one.scores, one.positive, ones(one))[0]
    assert brier == pytest.approx(reference.brier_score_loss(one.positive, one.scores))
    found = {name: values[0] for name, values in performance.rates(one, ones(one)).items()}
    assert found["f1"] == pytest.approx(reference.f1_score(one.positive, one.called))
    assert found["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(one.positive, one.called))
    assert found["ppv"] == pytest.approx(reference.precision_score(one.positive, one.called))


def test_weights_do_what_repeating_rows_does():
    one = scored(n=50)
    weights = patient_weights(list(one.patients), 20, seed=1)
    for weight, found in zip(weights, performance.auc(one, weights), strict=True):
        rows_drawn = np.repeat(np.arange(50), weight.astype(int))
        wanted = reference.roc_auc_score(one.positive[rows_drawn], one.scores[rows_drawn])
        assert found == pytest.approx(wanted)


def test_patients_are_drawn_whole():
    weights = patient_weights(["a", "a", "b", "c", "c", "c"], 50, seed=0)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 5]).all()
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all()


def test_the_curve_of_roc_has_the_area():
    curve = performance.roc(scored())
    area = np.trapezoid(curve["true_positive_rate"], curve["false_positive_rate"])
    assert area == pytest.approx(performance.auc(scored(), ones(scored()))[0])


def test_delong_is_the_textbook_variance():
    """By the definition: a kernel over all pairs, its row and column means."""
    one = scored(n=60)
    ill, well = one.scores[one.positive], one.scores[~one.positive]
    kernel = (ill[:, None] > well) + 0.5 * (ill[:, None] == well)
    wanted = kernel.mean(axis=1).var(ddof=1) / len(ill) + kernel.mean(axis=0).var(ddof=1) / len(well)
    found = delong.auc_interval(one.scores, one.positive, np.arange(60))
    assert found.auc == pytest.approx(kernel.mean())
    assert found.variance == pytest.approx(wanted, rel=0.05)  # n / (n - 1) over patients, not over rows of a class


def test_the_interval_covers_the_truth():
    truth = 0.5 * (1 + __import__("math").erf(2 / np.sqrt(2) / np.sqrt(2)))  # shift of 2, unit variances
    hits = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        positive = np.arange(120) < 50
        scores = generator.normal(0, 1, 120) + 2 * positive
        found = delong.auc_interval(scores, positive, np.arange(120))
        hits += found.low <= truth <= found.high
    assert 180 <= hits <= 199


def test_copies_of_patients_do_not_narrow_the_interval():
    one = scored(n=80)
    alone = delong.auc_interval(one.scores, one.positive, np.arange(80))
    doubled = [np.concatenate([values, values]) for values in (one.scores, one.positive, np.arange(80))]
    clustered, blind = delong.auc_interval(*doubled), delong.auc_interval(*doubled[:2], np.arange(160))
    assert clustered.variance == pytest.approx(alone.variance, rel=0.05)
    assert blind.variance < 0.6 * alone.variance


def test_two_scores_that_are_alike_do_not_differ():
    one = scored()
    noise = np.random.default_rng(1).normal(0, 1, len(one))
    assert delong.compare(one.scores, one.scores, one.positive) == (0.0, 1.0)
    difference, p_value = delong.compare(one.scores, noise, one.positive)
    assert difference > 0.1
    assert p_value < 0.01


@pytest.mark.parametrize("wrong", [False, True])
def test_perfect_separation_has_an_interval_too(wrong):
    positive = np.arange(20) < 10
    found = delong.auc_interval(np.where(positive != wrong, 1.0, 0.0), positive, np.arange(20))
    assert 0 <= found.low < found.high <= 1
    assert found.high - found.low > 0.1


def test_a_calibrated_score_has_no_calibration_error():
    generator = np.random.default_rng(0)
    scores = generator.random(20_000)
    positive = generator.random(20_000) < scores
    weights = np.ones((1, 20_000))
    assert calibration.ece(scores, positive, weights)[0] < 0.02
    slope, intercept = calibration.slope_and_intercept(scores, positive)
    assert (slope, intercept) == (pytest.approx(1, abs=0.06), pytest.approx(0, abs=0.06))
    assert calibration.ece(scores**3, positive, weights)[0] > 0.15


def test_the_reliability_curve_counts_every_row():
    one = scored()
    assert sum(part["n"] for part in calibration.reliability(one.scores, one.positive)) == len(one)
    constant = np.full(10, 0.5)
    assert calibration.reliability(constant, np.arange(10) < 4)[0] == {"score": 0.5, "positive": 0.4, "n": 10}


def test_small_groups_are_said_to_be_small():
    found = performance.measure(scored(n=8), "sex=F", n_bootstrap=100, seed=0, min_group=10)
    assert {one.note for one in found} == {"too few"}
    assert all(one.value is None for one in found)


def test_intervals_hold_their_value():
    for one in performance.measure(scored(), "all", n_bootstrap=300, seed=0):
        assert one.low <= one.value <= one.high or one.name == "ece"  # which resampling pushes up


def test_figures_with_too_few_samples_have_no_interval():
    low, high = interval([np.nan] * 90 + [0.5] * 10)
    assert np.isnan(low)
    assert np.isnan(high)


def test_figures_are_listed_once_and_without_nan():
    listed = rows([Metric("b", float("nan")), Metric("a", 1.0, "sex=F"), Metric("a", 2.0)])
    assert [(one["name"], one["group"], one["value"]) for one in listed] == [
        ("a", "all", 2.0), ("a", "sex=F", 1.0), ("b", "all", None)
    ]  # fmt: skip
    with pytest.raises(ValueError, match="twice"):
        rows([Metric("a", 1.0), Metric("a", 2.0)])
    assert (shown(None), shown(0.5), shown(0.5, 0.1, 0.9)) == ("-", "0.500", "0.500 (0.100 to 0.900)")


def test_youden_is_the_best_sum():
    one = scored()
    found = operating_point.choose(one.scores, one.positive)
    sums = []
    for cut in np.unique(one.scores):
        called = one.scores >= cut
        sums.append(called[one.positive].mean() + (~called[~one.positive]).mean())
    called = one.scores >= found
    assert called[one.positive].mean() + (~called[~one.positive]).mean() == pytest.approx(max(sums))


@pytest.mark.parametrize("limit", [0.5, 0.9, 1.0])
def test_policies_of_the_operating_point_hold(limit):
    one = scored()
    low = one.scores >= operating_point.choose(one.scores, one.positive, f"sensitivity>={limit}")
    high = one.scores >= operating_point.choose(one.scores, one.positive, f"specificity >= {limit}")
    assert low[one.positive].mean() >= limit
    assert (~high[~one.positive]).mean() >= limit


def test_what_cannot_be_an_operating_point_is_said():
    one = scored()
    with pytest.raises(ContractError, match="unknown policy"):
        operating_point.choose(one.scores, one.positive, "__import__('os')")
    with pytest.raises(InputError, match="one class"):
        operating_point.choose(one.scores, np.ones(len(one), bool))
    with pytest.raises(InputError, match="NaN"):
        operating_point.choose(np.full(len(one), np.nan), one.positive)
