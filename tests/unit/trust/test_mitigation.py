from __future__ import annotations

import warnings

import numpy as np
import pytest

from claimed_med.errors import InputError
from claimed_med.testing.credit import credit
from claimed_med.trust import credit_benchmark, fairness, german_credit, mitigation
from claimed_med.trust.fairness import Outcome


def rows(seed=0, n=600, shift=2.5):
    """A table in which the group pulls the outcome, and a feature that gives the group away."""
    random = np.random.default_rng(seed)
    group = random.random(n) < 0.6
    features = np.column_stack([random.normal(size=(n, 3)), group + random.normal(0, 0.4, n)])
    truth = random.random(n) < 1 / (1 + np.exp(-(features[:, 0] + shift * group - 1.0)))
    return mitigation.Rows(features, truth, group)


def parity(said, test):
    found = fairness.bias(Outcome(test.truth, said), ~test.privileged, test.privileged)
    return abs(found["statistical_parity_difference"][0])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return german_credit.read(credit(tmp_path_factory.mktemp("credit")) / "german.data")


def test_reweighing_makes_outcome_and_group_independent():
    train = rows()
    weights = mitigation.reweighing(train.truth, train.privileged)
    rates = [np.average(train.truth[g], weights=weights[g]) for g in (train.privileged, ~train.privileged)]
    assert rates[0] == pytest.approx(rates[1])
    assert weights.sum() == pytest.approx(len(train))


def test_strength_zero_is_no_reweighing():
    train = rows()
    assert (mitigation.reweighing(train.truth, train.privileged, 0.0) == 1).all()


def test_group_without_an_outcome_is_refused():
    train = rows()
    with pytest.raises(InputError, match="lacks an outcome"):
        mitigation.reweighing(train.truth | train.privileged, train.privileged)


@pytest.mark.parametrize("method", sorted(mitigation.METHODS))
def test_method_lowers_disparity_is_the_same_twice_and_looks_at_nothing_undeclared(method):
    train, test = rows(0), rows(1)
    said = mitigation.predict(method, train, test, 5)
    assert parity(said, test) < 0.75 * parity(mitigation.plain(train, test, 5).astype(bool), test)
    assert (said == test.truth).mean() > 0.6
    group = test.privileged if method in mitigation.AT_PREDICTION else ~test.privileged
    blinded = mitigation.Rows(test.features, ~test.truth, group)
    assert (said == mitigation.predict(method, train, blinded, 5)).all()


def test_threshold_optimizer_looks_at_the_group_at_prediction():
    train, test = rows(0), rows(1)
    turned = mitigation.Rows(test.features, test.truth, ~test.privileged)
    both = [mitigation.predict("threshold_optimizer", train, one, 1) for one in (test, turned)]
    assert (both[0] != both[1]).any()


def test_split_is_stratified_disjoint_and_known_by_its_seed(table):
    truth = table["y"].to_numpy() == 1
    train, test = credit_benchmark.split(truth, 3)
    assert set(train).isdisjoint(test)
    assert len(train) + len(test) == len(table)
    assert abs(truth[train].mean() - truth[test].mean()) < 0.01
    assert (test == credit_benchmark.split(truth, 3)[1]).all()


def test_protected_attribute_is_not_among_the_features(table):
    assert {"personal", "sex"}.isdisjoint(german_credit.features(table, "sex").columns)
    assert "age" not in german_credit.features(table, "age").columns
    assert "y" not in german_credit.features(table).columns


def test_encoding_is_learnt_from_the_training_rows_only(table):
    columns = german_credit.features(table)
    alone = credit_benchmark.encode(columns.iloc[:200], columns.iloc[200:250])
    among = credit_benchmark.encode(columns.iloc[:200], columns.iloc[200:])
    assert (alone[1] == among[1][:50]).all()


def test_code_that_training_never_saw_is_no_error(table):
    columns = german_credit.features(table)
    foreign = columns.iloc[200:210].assign(purpose="A410")
    assert np.isfinite(credit_benchmark.encode(columns.iloc[:200], foreign)[1]).all()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_constant_predictor_has_no_biased_metric_but_half_balanced_accuracy(table, share):
    truth = table["y"].to_numpy() == 1
    said = np.full(len(truth), share > 0)
    group = german_credit.privileged(table, "sex")
    one = credit_benchmark.Decision("sex", 0, np.arange(len(truth)), truth, group, said, said)
    assert credit_benchmark.judged(one, 20)["balanced_accuracy_after"] == pytest.approx(0.5)


def test_interval_of_mean_is_wider_than_that_of_independent_splits(table):
    decisions = credit_benchmark.decide(table, "reweighing", ["sex"], range(4))
    found = credit_benchmark.summary(decisions)["sex"]
    low, high = found["interval_of_mean"]["accuracy_after"]
    values = [one["accuracy_after"] for one in found["splits"]]
    assert found["mean"]["accuracy_after"] == pytest.approx(np.mean(values))
    assert found["median"]["accuracy_after"] == pytest.approx(np.median(values))
    assert high - low > 2 * 3.18 * np.std(values, ddof=1) / 2


@pytest.mark.parametrize("change", ["columns", "outcome", "text", "codes"])
def test_other_tables_are_refused(tmp_path, change):
    file = credit(tmp_path) / "german.data"
    lines = [line.split() for line in file.read_text().splitlines()]
    if change == "columns":
        lines = [line[:-1] for line in lines]
    elif change == "outcome":
        lines[3][-1] = "3"
    elif change == "text":
        lines[3][12] = "old"
    else:
        lines[3][8] = "male"
    file.write_text("\n".join(" ".join(line) for line in lines))
    with pytest.raises(InputError, match="german credit"):
        german_credit.read(file)


def test_groups_of_the_real_file_are_those_of_aif360(data):
    table = german_credit.read(data / "tabular" / "german.data")
    assert len(table) == 1000
    assert int(table["y"].sum()) == 700
    assert int(german_credit.privileged(table, "sex").sum()) == 690
    assert int(german_credit.privileged(table, "age").sum()) == 810


def test_nothing_warns(table):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(credit_benchmark.decide(table, "reweighing", ["sex", "age"], [0]))
