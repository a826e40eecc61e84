from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from claimed_med.models import recipe
from claimed_med.models.loss import Loss
from claimed_med.models.samples import Samples

TARGETS = [0, 0, 0, 1]


def _loss(**changes):
    chosen = recipe.load("xray_small").changed(**changes)
    images = [torch.zeros(1, 4, 4) for _ in TARGETS]
    return Loss(chosen, Samples([str(one) for one in range(4)], images, TARGETS), 2, torch.device("cpu"))


@pytest.fixture
def logits():
    return torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_rare_classes_weigh_more(logits):
    loss = _loss(class_weights="balanced")
    assert loss.weights.tolist() == pytest.approx([4 / 6, 2.0])
    expected = functional.cross_entropy(logits, torch.tensor(TARGETS), weight=loss.weights)
    assert float(loss(logits, torch.tensor(TARGETS), [0, 1, 2, 3])) == pytest.approx(float(expected))


def test_parts_of_a_batch_add_up_to_the_whole(logits):
    for weights in ("balanced", "none"):
        loss, truth, batch = _loss(class_weights=weights), torch.tensor(TARGETS), [0, 1, 2, 3]
        whole = loss(logits, truth, batch)
        parts = loss(logits[:3], truth[:3], batch) + loss(logits[3:], truth[3:], batch)
        assert float(parts) == pytest.approx(float(whole), abs=1e-12)


def test_a_process_without_images_adds_nothing(logits):
    assert float(_loss()(logits[:0], torch.tensor(TARGETS)[:0], [0, 1])) == 0.0


def test_a_perfect_segmentation_has_hardly_any_loss():
    chosen = recipe.load("segmenter_small")
    truth = (torch.arange(64).reshape(1, 4, 4, 4) % 2).long()
    loss = Loss(chosen, Samples(["a"], [truth.float()], [truth[0]]), 2, torch.device("cpu"))
    right = functional.one_hot(truth, 2).permute(0, 4, 1, 2, 3).float() * 40 - 20
    assert float(loss(right, truth, [0])) < 0.01 < float(loss(-right, truth, [0]))
