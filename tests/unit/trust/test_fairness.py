from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from claimed_med.errors import ContractError, InputError
from claimed_med.trust import fairness, fairness_page, subgroup
from claimed_med.trust.bootstrap import patient_weights
from claimed_med.trust.fairness import Outcome
from claimed_med.trust.group import families
from claimed_med.trust.metric import TOO_FEW, rows


@pytest.fixture
def random():
    return np.random.default_rng(7)


def made(random, n=400, *, scored=True):
    truth = random.random(n) < 0.4
    score = np.clip(0.3 * truth + random.random(n) * 0.7, 0, 1).round(2)
    return Outcome(truth, score > 0.5, score if scored else None)


def theirs(outcome, unprivileged):
    """AIF360's own figures."""
    logging.disable(logging.WARNING)
    try:
        from aif360.datasets import BinaryLabelDataset
        from aif360.metrics import ClassificationMetric
    finally:
        logging.disable(logging.NOTSET)
    frame = pd.DataFrame({"group": (~unprivileged).astype(float), "y": outcome.truth.astype(float)})
    options = {"label_names": ["y"], "protected_attribute_names": ["group"]}
    truth = BinaryLabelDataset(df=frame, **options)
    said = BinaryLabelDataset(df=frame.assign(y=outcome.predicted.astype(float)), **options)
    metric = ClassificationMetric(truth, said, unprivileged_groups=[{"group": 0}], privileged_groups=[{"group": 1}])
    return {name: getattr(metric, name)() for name in fairness.FAIR_RANGES}


@pytest.mark.parametrize("seed", range(5))
def test_metrics_equal_those_of_aif360(seed):
    random = np.random.default_rng(seed)
    outcome, group = made(random), random.random(400) < 0.3
    ours = fairness.bias(outcome, group, ~group)
    for name, value in theirs(outcome, group).items():
        assert ours[name][0] == pytest.approx(value, abs=1e-12), name


def test_weights_equal_repeated_rows(random):
    outcome, group = made(random, 120), random.random(120) < 0.4
    counts = random.integers(0, 4, 120)
    again = np.repeat(np.arange(120), counts)
    repeated = Outcome(outcome.truth[again], outcome.predicted[again], outcome.score[again])
    weights = counts[None, :].astype(float)
    by_weight = fairness.bias(outcome, group, ~group, weights) | fairness.performance(outcome, group, weights)
    by_row = fairness.bias(repeated, group[again], ~group[again]) | fairness.performance(repeated, group[again])
    for name, value in by_row.items():
        assert by_weight[name][0] == pytest.approx(value[0], abs=1e-12), name


def test_auc_with_ties_equals_scikit_learn(random):
    outcome = made(random)
    ours = fairness.auc(outcome.score, outcome.truth, np.ones(400, bool), fairness.ones(400))[0]
    assert ours == pytest.approx(roc_auc_score(outcome.truth, outcome.score))


def test_no_members_give_no_figure_instead_of_a_fair_one(random):
    outcome, nobody = made(random, 50), np.zeros(50, bool)
    found = fairness.bias(outcome, nobody, ~nobody)
    assert np.isnan(found["equal_opportunity_difference"][0])
    assert not fairness.is_fair("equal_opportunity_difference", float("nan"))
    assert np.isnan(fairness.performance(outcome, nobody)["auc"][0])


@pytest.mark.parametrize(
    ("name", "value", "fair"),
    [
        ("statistical_parity_difference", 0.1, True),
        ("statistical_parity_difference", -0.11, False),
        ("disparate_impact", 0.8, True),
        ("disparate_impact", 1.26, False),
        ("theil_index", 0.26, False),
    ],
)
def test_fair_ranges_include_their_ends(name, value, fair):
    assert fairness.is_fair(name, value) is fair


def cohort(n=400):
    sex = np.where(np.arange(n) % 2 == 0, "F", "M")
    return pd.DataFrame({"sex": sex, "view": np.where(np.arange(n) % 3 == 0, "AP", "PA")})


def measured(outcome, table, attributes=("sex",), *, intersections=False, **rules):
    groups = families(table, attributes, intersections=intersections)
    weights = patient_weights([str(i // 2) for i in range(len(table))], 200, 1)
    return subgroup.measure(outcome, groups, weights, subgroup.Rules(**rules))


def of(found, name, group):
    return next(one for one in found.metrics if one.name == name and one.group == group)


def test_planted_bias_is_found_and_its_absence_is_fair(random):
    table = cohort()
    truth = random.random(400) < 0.5
    fair = Outcome(truth, truth ^ (random.random(400) < 0.05))
    assert [one.verdict for one in measured(fair, table).verdicts] == [subgroup.FAIR]
    missed = fair.predicted & ~((table["sex"] == "F").to_numpy() & (random.random(400) < 0.6))
    found = measured(Outcome(truth, missed), table)
    assert found.verdicts[0].verdict == subgroup.BIASED
    assert found.verdicts[0].as_dict()["reasons"][0]["certain"]
    figure = of(found, "equal_opportunity_difference", "sex=F")
    assert figure.low < figure.value < figure.high < -0.1
    assert of(found, "false_negative_rate_gap", "sex").value > 0.4


def test_small_groups_are_too_few_and_never_fair(random):
    table = cohort()
    table.loc[:4, "sex"] = "O"
    found = measured(made(random), table)
    assert of(found, "equal_opportunity_difference", "sex=O").note == TOO_FEW
    assert "sex=O" in found.verdicts[0].too_few
    table["sex"] = np.where(np.arange(400) < 5, "O", "F")
    assert [one.verdict for one in measured(made(random), table).verdicts] == [TOO_FEW]


def test_group_without_positives_is_too_few(random):
    table, outcome = cohort(), made(random)
    truth = outcome.truth & (table["sex"] == "M").to_numpy()
    found = measured(Outcome(truth, outcome.predicted, outcome.score), table)
    assert found.verdicts[0].verdict == TOO_FEW
    assert of(found, "auc", "sex=F").value is None


def test_single_group_is_not_fair(random):
    found = measured(made(random), cohort().assign(sex="F"))
    assert found.verdicts[0].verdict == TOO_FEW


def test_intersections_and_references_are_measured(random):
    found = measured(made(random), cohort(), ("sex", "view"), intersections=True, references=("sex=M",))
    assert {one.attribute for one in found.verdicts} == {"sex", "view", "sex & view"}
    assert of(found, "auc", "sex=F & view=AP").value is not None
    to_reference = of(found, "average_odds_difference_to_sex=M", "sex=F")
    assert to_reference.value == of(found, "average_odds_difference", "sex=F").value
    assert of(found, "worst_group_auc", "all").value <= of(found, "worst_group_auc", "sex").value
    assert rows(found.metrics)


def test_missing_values_are_a_group():
    table = pd.DataFrame({"sex": ["F", None, "M"]})
    assert set(families(table, ["sex"])["sex"]) == {"sex=F", "sex=M", "sex=unknown"}


def test_unknown_attribute_metric_or_reference_is_refused():
    with pytest.raises(InputError, match="ethnicity"):
        families(cohort(), ["ethnicity"])
    groups = families(cohort(), ["sex"])
    with pytest.raises(ContractError, match="judged"):
        subgroup.check(groups, subgroup.Rules(judged=("beauty",)), "x")
    with pytest.raises(InputError, match="sex=X"):
        subgroup.check(groups, subgroup.Rules(references=("sex=X",)), "x")


def test_bars_are_the_same_bytes_twice(random):
    found = rows(measured(made(random), cohort()).metrics)
    assert fairness_page.bars(found) == fairness_page.bars(found)
