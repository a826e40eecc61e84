"""Drift: planted changes are found, and nothing else is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from claimed_med.errors import ContractError
from claimed_med.testing import predictions
from claimed_med.testing.predictions import Change
from claimed_med.trust import drift

RULES = drift.Rules(n_permutations=999)
COLUMNS = ["score", "sex", "age", "scanner", "intensity_mean", *(f"embedding_{one}" for one in range(8))]
REFERENCE = predictions.table(400, 1)


def drifted(table, reference=REFERENCE, rules=RULES):
    return {one.column for one in drift.compare(reference, table, COLUMNS, rules) if one.drifted}


@pytest.mark.parametrize(
    ("change", "column"),
    [
        (Change(new_scanner=0.3), "scanner"),
        (Change(intensity=1.25), "intensity_mean"),
        (Change(age_years=12), "age"),
        (Change(prevalence=0.75), "score"),
    ],
    ids=["scanner", "window-level", "age", "prevalence"],
)
def test_a_planted_change_is_found_within_two_windows_and_named(change, column):
    found = [drifted(predictions.table(200, seed, change)) for seed in (11, 12)]
    assert column in found[0] | found[1]


def test_no_more_than_five_percent_of_two_hundred_windows_alarm_without_a_change():
    reference = REFERENCE[:200]
    alarms = [bool(drifted(predictions.table(100, 1000 + seed), reference)) for seed in range(200)]
    assert sum(alarms) <= 10


def test_windows_of_real_people_drawn_from_one_population_do_not_alarm(data):
    labels = pd.read_csv(data / "cxr_nih" / "labels.csv")
    generator = np.random.default_rng(0)
    columns = [name for name in ("age", "sex", "view") if name in labels.columns]
    assert columns
    alarms = 0
    for _ in range(60):
        shuffled = labels.iloc[generator.permutation(len(labels))]
        tests = drift.compare(shuffled[:200], shuffled[200:], columns, RULES)
        alarms += any(one.drifted for one in tests)
    assert alarms <= 3


def test_cases_of_one_patient_count_once():
    one = predictions.table(1, 5).assign(scanner="Delta 9")
    crowd = pd.concat([predictions.table(150, 6), *[one] * 100], ignore_index=True)
    assert len(drift.once_a_patient(crowd)) == 151
    assert "scanner" not in drifted(crowd)


def test_missing_values_that_become_frequent_are_a_drift():
    window = predictions.table(200, 7)
    window.loc[:80, "age"] = np.nan
    assert "age" in drifted(window)


@pytest.mark.parametrize("sign", [1, -1], ids=["up", "down"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (np.full(200, 120.0), np.full(100, 140.0)),
        (np.full(200, 1.0), np.full(100, 5.0)),
        (
            np.minimum(np.arange(200) / 40, 1.0),
            np.minimum(np.arange(100) / 20, 1.0) * np.where(np.arange(100) < 20, 1, 2),
        ),
        (np.where(np.arange(200) < 40, np.arange(200), 99.0), np.where(np.arange(100) < 20, np.arange(100), 60.0)),
    ],
    ids=["voltage", "thickness", "top-heavy", "heavy-moves-inside"],
)
def test_a_constant_or_heavy_value_that_moves_is_found(before, after, sign):
    (one,) = drift.compare(pd.DataFrame({"x": sign * before}), pd.DataFrame({"x": sign * after}), ["x"], RULES)
    assert one.drifted


def test_a_constant_that_stays_is_no_drift_whatever_its_precision():
    tables = [pd.DataFrame({"x": np.full(100, 0.1, dtype=kind)}) for kind in (np.float64, np.float32)]
    for before, after in (tables, tables[::-1]):
        (one,) = drift.compare(before, after, ["x"], RULES)
        assert one.effect == 0.0


@pytest.mark.parametrize("n_permutations", [199, 999])
def test_a_replaced_scanner_among_many_columns_is_found_with_few_permutations(n_permutations):
    more = [f"other_{one}" for one in range(11)]
    before, after = (
        one.assign(**dict.fromkeys(more, one["age"]))
        for one in (REFERENCE, predictions.table(200, 11, Change(new_scanner=1.0)))
    )
    rules = drift.Rules(n_permutations=n_permutations)
    found = drift.compare(before, after, ["scanner", *more], rules)
    assert [one.column for one in found if one.drifted] == ["scanner"]


def test_an_alpha_at_which_nothing_could_be_found_is_refused():
    with pytest.raises(ContractError, match="so small an alpha"):
        drift.compare(REFERENCE, REFERENCE, ["sex", "scanner"], drift.Rules(alpha=1e-6))
    assert not drift.compare(REFERENCE, REFERENCE, ["age"], drift.Rules(alpha=1e-6))[0].drifted
    names = [f"embedding_{one}" for one in range(1100)]
    wide = pd.DataFrame(np.random.default_rng(0).normal(size=(40, len(names))), columns=names)
    assert not drift.compare(wide, wide, names, RULES)[0].drifted


def test_few_cases_are_too_few_and_no_drift():
    tests = drift.compare(REFERENCE, predictions.table(20, 8, Change(new_scanner=1.0)), COLUMNS, RULES)
    assert {one.note for one in tests} == {drift.TOO_FEW}
    assert not any(one.drifted for one in tests)


def test_a_tiny_difference_in_a_large_window_is_no_drift():
    generator = np.random.default_rng(0)
    before = pd.DataFrame({"x": generator.normal(0, 1, 50_000)})
    after = pd.DataFrame({"x": generator.normal(0.05, 1, 50_000)})
    (one,) = drift.compare(before, after, ["x"], RULES)
    assert one.p_value < 1e-6
    assert not one.drifted


def test_stability_index_equals_its_definition_and_its_expectation():
    before, after = np.array([50, 30, 20]), np.array([40, 30, 30])
    first, second = before / 100, after / 100
    assert drift.psi(before, after) == pytest.approx(sum((second - first) * np.log(second / first)))
    generator = np.random.default_rng(0)
    part = np.full(10, 0.1)
    drawn = [drift.psi(generator.multinomial(2000, part), generator.multinomial(500, part)) for _ in range(400)]
    assert np.mean(drawn) == pytest.approx(drift.psi_by_chance(10, 2000, 500), rel=0.1)


def test_chi_squared_is_that_of_scipy():
    counts = np.array([[120, 60, 20], [40, 40, 20]])
    value = drift._chi_squared(counts[1][None], counts.sum(axis=0))[0]
    assert value == pytest.approx(stats.chi2_contingency(counts, correction=False).statistic)


def test_discrepancy_is_that_of_its_definition():
    generator = np.random.default_rng(3)
    kernel = drift._kernel(generator.normal(size=(9, 3)))
    member = np.zeros((1, 9))
    member[0, 5:] = 1
    within = kernel[:5, :5].sum() / 20 + kernel[5:, 5:].sum() / 12
    assert drift._mmd(kernel, member, 5, 4)[0] == pytest.approx(within - 2 * kernel[:5, 5:].mean())


def test_the_same_tables_give_the_same_figures():
    window = predictions.table(200, 9)
    assert drift.compare(REFERENCE, window, COLUMNS, RULES) == drift.compare(REFERENCE, window, COLUMNS, RULES)
