from __future__ import annotations

import pytest

from claimed_med.errors import ContractError
from claimed_med.trust import policy
from claimed_med.trust.metric import Metric, rows

ONE = '[[require]]\nreport = "performance"\nmetric = "auc"\ncomparison = ">="\nlimit = 0.7\n'


def judged(text, metrics, subject="m", digest="m"):
    reports = {"performance": {"model_digest": digest, "metrics": rows(metrics)}}
    return policy.judge(policy.load(text), reports, subject)


@pytest.mark.parametrize("name", policy.names())
def test_policies_of_the_package_are_sound(name):
    assert policy.load(name).require


def test_a_figure_is_held_against_its_limit():
    assert judged(ONE, [Metric("auc", 0.7)])[0].passed
    assert not judged(ONE, [Metric("auc", 0.69)])[0].passed


def test_the_bound_of_the_interval_counts_when_asked_for():
    metrics = [Metric("auc", 0.8, low=0.6, high=0.9)]
    assert judged(ONE, metrics)[0].passed
    assert not judged(ONE + 'bound = "low"\n', metrics)[0].passed


@pytest.mark.parametrize("value", [None, float("nan")])
def test_a_figure_without_value_is_a_refusal(value):
    assert not judged(ONE, [Metric("auc", value)])[0].passed


def test_a_missing_figure_report_or_group_is_a_refusal():
    assert not judged(ONE, [])[0].passed
    assert not judged(ONE.replace("performance", "fairness"), [Metric("auc", 1.0)])[0].passed
    assert not judged(ONE + 'group = "sex=F"\n', [Metric("auc", 1.0)])[0].passed


def test_figures_of_another_model_are_a_refusal():
    assert "another model" in judged(ONE, [Metric("auc", 1.0)], digest="other")[0].told


def test_a_star_means_every_group_that_is_large_enough():
    metrics = [
        Metric("auc", 0.9, "sex=F"), Metric("auc", 0.5, "sex=M"), Metric("auc", None, "sex=O", note="too few"),
        Metric("auc", 0.1, "sex=F & view=PA"),
    ]  # fmt: skip
    found = {one.group: one.passed for one in judged(ONE + 'group = "sex=*"\n', metrics)}
    assert found == {"sex=F": True, "sex=M": False, "sex=O": True}


def test_a_star_over_small_groups_only_is_a_refusal():
    found = judged(ONE + 'group = "sex=*"\n', [Metric("auc", None, "sex=O", note="too few")])
    assert [one.passed for one in found] == [False]


def test_a_magnitude_is_bad_in_both_directions():
    text = ONE.replace(">=", "<=").replace("0.7", "0.1") + "magnitude = true\n"
    assert not judged(text, [Metric("auc", -0.3)])[0].passed
    assert judged(text, [Metric("auc", -0.05)])[0].passed
    wide = [Metric("auc", -0.05, low=-0.4, high=0.02)]
    assert not judged(text + 'bound = "low"\n', wide)[0].passed


def test_the_digest_hangs_on_what_is_demanded_not_on_the_layout():
    spaced = ONE.replace(" = ", "   =   ") + "\n\n# a remark\n"
    assert policy.load(ONE).digest == policy.load(spaced).digest != policy.load(ONE.replace("0.7", "0.8")).digest


@pytest.mark.parametrize(
    "text",
    [
        "no_such_policy",
        'name = "empty"\n',
        ONE.replace(">=", "~="),
        ONE.replace("limit = 0.7", 'limit = "os.system"'),
        ONE.replace("limit = 0.7", ""),
        ONE + 'bound = "middle"\n',
        ONE + 'expression = "1 == 1"\n',
        "require = [",
    ],
)
def test_what_is_no_policy_is_refused(text):
    with pytest.raises(ContractError, match="policy"):
        policy.load(text)
