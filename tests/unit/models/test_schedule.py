from __future__ import annotations

import pytest
from torch import nn

from claimed_med.models.recipe import Training
from claimed_med.models.schedule import learning_rate, optimizer_of


def _rates(n=100, **options):
    return [learning_rate(Training(learning_rate=1.0, **options), step, n) for step in range(1, n + 1)]


def test_a_constant_rate_is_constant_after_its_warmup():
    rates = _rates(schedule="constant", warmup_steps=10)
    assert rates[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert set(rates[10:]) == {1.0}


def test_a_cosine_falls_from_the_top_to_a_hundredth():
    rates = _rates(schedule="cosine")
    assert rates[0] == pytest.approx(1.0)
    assert rates == sorted(rates, reverse=True)
    assert 0.01 <= rates[-1] < 0.02


def test_one_cycle_rises_and_falls():
    rates = _rates(schedule="one_cycle")
    top = rates.index(max(rates))
    assert rates[top] == pytest.approx(1.0)
    assert 20 < top < 40
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_biases_and_norms_are_not_decayed(name):
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    made = optimizer_of(network, Training(optimizer=name, weight_decay=0.1))
    decayed = {id(one) for group in made.param_groups if group["weight_decay"] for one in group["params"]}
    assert decayed == {id(network[0].weight)}
    assert sum(len(group["params"]) for group in made.param_groups) == 4
