from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from claimed_med.errors import ContractError
from claimed_med.models.evaluate import class_probabilities
from claimed_med.trust import attack, corruption, robustness
from claimed_med.trust.metric import rows


@pytest.fixture
def images():
    return np.random.default_rng(0).random((6, 1, 24, 24)).astype(np.float32)


class Mean(nn.Module):
    """Class 1 when the image is bright."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(30.0))

    def forward(self, image):
        logit = self.weight * (image.flatten(1).mean(dim=1) - 0.5)
        return torch.stack([-logit, logit], dim=1)


def subject(n=24, network=True, dims=2):
    generator = np.random.default_rng(1)
    targets = np.arange(n) % 2
    size = (1, *([16] * dims))
    images = np.stack([generator.random(size) * 0.3 + 0.3 + 0.08 * one for one in targets]).astype(np.float32)
    made = Mean().eval()
    return robustness.Subject(
        probabilities=lambda batch: class_probabilities(
            made, torch.from_numpy(batch), "float32", torch.device("cpu"), 64
        ),
        network=made if network else None,
        images=images,
        targets=targets,
        patients=np.arange(n).astype(str),
        positive=1,
        threshold=0.5,
        n_classes=2,
    )


@pytest.mark.parametrize("name", corruption.CORRUPTIONS)
def test_strength_zero_changes_nothing_and_more_changes_more(name, images):
    assert (corruption.corrupt(name, images[0], 0, 1) == images[0]).all()
    smooth = np.linspace(0.2, 0.8, 24 * 24, dtype=np.float32).reshape(1, 24, 24) + 0.1 * images[0]
    changes = [
        float(np.abs(corruption.corrupt(name, smooth, one, 1) - smooth).mean())
        for one in corruption.CORRUPTIONS[name].strengths
    ]
    assert changes[0] > 0 or name in {"jpeg", "crop", "blur"}
    assert changes[-1] > changes[0]


@pytest.mark.parametrize("name", corruption.CORRUPTIONS)
@pytest.mark.parametrize("shape", [(1, 24, 24), (2, 8, 20, 20)])
def test_corrupted_images_keep_shape_and_range_and_are_reproducible(name, shape):
    image = np.random.default_rng(0).random(shape).astype(np.float32)
    strength = corruption.CORRUPTIONS[name].strengths[2]
    made, again = (corruption.corrupt(name, image, strength, 5) for _ in range(2))
    assert made.shape == shape
    assert made.dtype == np.float32
    assert 0 <= made.min() <= made.max() <= 1
    assert (made == again).all()


def test_an_unknown_corruption_or_attack_is_refused(images):
    with pytest.raises(ContractError, match="noise"):
        corruption.corrupt("gamma rays", images[0], 1, 0)
    with pytest.raises(ContractError, match="fgsm"):
        attack.attack("magic", images, np.zeros(6, int), 0.1, network=None, probabilities=None, n_classes=2, seed=0)


@pytest.mark.parametrize("name", attack.ATTACKS)
def test_attacks_stay_within_epsilon_and_do_harm(name):
    one = subject()
    changed = robustness.attacked(one, name, 8 / 255, seed=0)
    assert np.abs(changed - one.images).max() <= 8 / 255 + 1e-6
    assert 0 <= changed.min() <= changed.max() <= 1
    before, after = (one.probabilities(images)[np.arange(24), one.targets] for images in (one.images, changed))
    assert after.mean() < before.mean()


@pytest.mark.parametrize("name", ["fgsm", "pgd"])
def test_our_gradient_attacks_do_as_much_harm_as_those_of_art(name):
    one = subject()
    ours = robustness.attacked(one, name, 4 / 255, seed=0)
    theirs = attack.art_attack(name, one.network, one.images, one.targets, 4 / 255, 2)
    harm = [one.probabilities(images)[np.arange(24), one.targets].mean() for images in (ours, theirs)]
    assert harm[0] <= harm[1] + 0.01


def test_attacks_leave_the_global_generator_alone():
    np.random.seed(3)  # noqa: NPY002 - the generator under test
    wanted = np.random.random()  # noqa: NPY002 - as above
    np.random.seed(3)  # noqa: NPY002 - as above
    robustness.attacked(subject(), "square", 8 / 255, seed=9)
    assert np.random.random() == wanted  # noqa: NPY002 - as above


@pytest.mark.parametrize("dims", [2, 3])
def test_volumes_are_attacked_too(dims):
    one = subject(n=4, dims=dims)
    assert (robustness.attacked(one, "pgd", 4 / 255, seed=0) != one.images).any()


def test_a_model_without_gradients_meets_only_what_needs_none():
    curves, notes = robustness.measure(
        subject(network=False), corruptions=["noise"], attacks=["fgsm", "square"], n_bootstrap=100, seed=0
    )
    assert [one.name for one in curves] == ["noise", "square"]
    assert "fgsm was left out" in notes[0]


def test_curves_fall_and_every_figure_has_an_interval():
    one = subject()
    curves, _ = robustness.measure(one, corruptions=["offset"], attacks=["fgsm"], n_bootstrap=200, seed=0)
    offset, fgsm = curves
    assert offset.accuracy[0].value > 0.9
    assert fgsm.accuracy[-1].value < fgsm.accuracy[0].value
    listed = rows(robustness.metrics_of(curves))
    names = {(one["name"], one["group"]) for one in listed}
    assert ("robust_accuracy", "corruption=offset") in names
    assert ("accuracy", "all") in names
    assert all(one["low"] <= one["value"] <= one["high"] for one in listed if one["name"] == "accuracy")
    assert {"corruptions.png", "attacks.png", "fgsm_examples.png"} == set(robustness.pictures(curves, one, 0))


def test_masked_gradients_are_noted():
    curves, _ = robustness.measure(subject(), corruptions=[], attacks=["fgsm", "square"], n_bootstrap=100, seed=0)
    other = {"fgsm": "square", "square": "fgsm"}
    swapped = [replace(one, name=other[one.name]) for one in curves]
    assert robustness.masked_gradients(curves) == []
    assert "masked" in robustness.masked_gradients(swapped)[0]
