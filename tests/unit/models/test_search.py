from __future__ import annotations

import pytest

from claimed_med import searchspace
from claimed_med.errors import ContractError, InputError, ModelError
from claimed_med.models.search import search

SPACE = """
objective = "validation_auc"
direction = "maximize"
n_trials = 6
[parameters.learning_rate]
type = "float"
low = 0.001
high = 1.0
log = true
[parameters.batch_size]
type = "categorical"
choices = [8, 16]
"""


def _value(drawn):
    return -abs(drawn["learning_rate"] - 0.1) - drawn["batch_size"] / 1000


def test_the_best_of_all_trials_is_found():
    found = search(searchspace.load(SPACE), _value, seed=0)
    assert len(found["trials"]) == 6
    assert found["value"] == max(one["value"] for one in found["trials"]) == _value(found["best"])


def test_the_same_seed_draws_the_same_trials():
    first, again, other = (search(searchspace.load(SPACE), _value, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_a_killed_search_goes_on_with_the_trials_that_are_left(tmp_path):
    space, seen = searchspace.load(SPACE), []

    def dying(drawn):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(drawn)
        return _value(drawn)

    with pytest.raises(KeyboardInterrupt):
        search(space, dying, seed=1, storage=tmp_path / "trials.log")
    counted = []

    def counting(drawn):
        counted.append(drawn)
        return _value(drawn)

    resumed = search(space, counting, seed=1, storage=tmp_path / "trials.log")
    assert len(counted) == 3
    assert resumed == search(space, _value, seed=1)


def test_a_trial_that_fails_is_listed_and_the_others_count():
    def half(drawn):
        if drawn["batch_size"] == 16:
            raise ModelError("train", "no")
        return _value(drawn)

    found = search(searchspace.load(SPACE), half, seed=0)
    assert {one["state"] for one in found["trials"]} == {"complete", "failed"}
    assert found["best"]["batch_size"] == 8


def test_an_error_that_all_trials_would_have_ends_the_search():
    def wrong(_):
        raise InputError("train", "one class only")

    with pytest.raises(InputError, match="one class only"):
        search(searchspace.load(SPACE), wrong, seed=0)


def test_a_line_that_a_kill_cut_off_is_done_again_and_loses_nothing(tmp_path):
    space, storage = searchspace.load(SPACE), tmp_path / "trials.log"
    whole = search(space, _value, seed=1, storage=storage)
    storage.write_text(storage.read_text()[:-30])
    counted = []
    for _ in range(2):
        again = search(space, lambda drawn: counted.append(drawn) or _value(drawn), seed=1, storage=storage)
        assert again == whole
    assert len(counted) == 1


def test_trials_of_another_search_are_not_taken(tmp_path):
    storage = tmp_path / "trials.log"
    search(searchspace.load(SPACE), _value, seed=1, storage=storage)
    wider = searchspace.load(SPACE.replace("high = 1.0", "high = 2.0"))
    assert search(wider, _value, seed=1, storage=storage) == search(wider, _value, seed=1)
    space = searchspace.load(SPACE)
    assert search(space, _value, seed=5, storage=storage) == search(space, _value, seed=5)


def test_trials_get_better_than_chance():
    space = searchspace.load(SPACE.replace("n_trials = 6", "n_trials = 30"))
    values = [one["value"] for one in search(space, _value, seed=0)["trials"]]
    assert sum(values[-10:]) > sum(values[:10])


def test_the_least_is_best_when_it_is_minimised():
    space = searchspace.load(SPACE.replace("maximize", "minimize"))
    found = search(space, _value, seed=0)
    assert found["value"] == min(one["value"] for one in found["trials"])


def test_no_good_trial_is_an_error():
    with pytest.raises(ModelError, match="no trial"):
        search(searchspace.load(SPACE), lambda _: float("nan"), seed=0)


@pytest.mark.parametrize("name", searchspace.names())
def test_spaces_of_the_package_are_sound(name):
    assert searchspace.load(name).parameters


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("low = 0.001", "low = 2.0"),
        ("low = 0.001", "low = 0.0"),
        ('type = "float"', 'type = "double"'),
        ("choices = [8, 16]", "choices = []"),
        ("maximize", "improve"),
        ("n_trials = 6", "n_trials = 0"),
        ("n_trials = 6", "trials = 6"),
        ("[parameters.batch_size]", "["),
        ("[parameters.batch_size]", "[parameters.Batch-Size]"),
        ("n_trials = 6", 'n_trials = "6"'),
        ("n_trials = 6", "n_trials = true"),
        ("low = 0.001", 'low = "0.001"'),
        ("low = 0.001", "low = nan"),
        ("low = 0.001", ""),
        ("log = true", "log = 1"),
        ("log = true", "scale = 1"),
        ('type = "float"', 'type = "int"'),
        ("choices = [8, 16]", "choices = [8, '16']"),
        ("choices = [8, 16]", "choices = [8, 8]"),
        ("choices = [8, 16]", "choices = ['a\"b']"),
        ("choices = [8, 16]", "choices = [[8], [16]]"),
        ("choices = [8, 16]", "choices = [8, 16]\nlow = 1"),
        ('"validation_auc"', '"validation auc"'),
    ],
)
def test_what_is_wrong_with_a_space_is_said(old, new):
    with pytest.raises(ContractError, match="search space"):
        searchspace.load(SPACE.replace(old, new))
