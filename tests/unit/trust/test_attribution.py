from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from claimed_med.errors import ContractError
from claimed_med.trust import ablation, attribution, fidelity, overlay, shortcut


def asked(probabilities, image, network, **options):
    return attribution.Question(probabilities, image, 1, network, n_regions=30, n_samples=120, **options)


@pytest.mark.parametrize("method", attribution.METHODS)
def test_every_method_points_to_where_the_network_looks(method, probabilities, image, network, truth):
    found = attribution.explain(method, asked(probabilities, image, network))
    assert found.shape == image.shape[1:]
    pointed = fidelity.pointing(found, truth)
    assert pointed["mass_inside"] > 3 * pointed["chance"]


@pytest.mark.parametrize("method", attribution.METHODS)
def test_the_network_is_left_as_it_was(method, probabilities, image, network):
    before = copy.deepcopy(network.state_dict())
    attribution.explain(method, asked(probabilities, image, network))
    assert not network.training
    assert all(torch.equal(before[name], one) for name, one in network.state_dict().items())
    assert all(not one._forward_hooks and not one._backward_hooks for one in network.modules())
    assert all(one.requires_grad for one in network.parameters())


@pytest.mark.parametrize("method", ["lime", "kernel_shap", "deeplift"])
def test_the_same_question_has_the_same_answer(method, probabilities, image, network):
    first, again = (attribution.explain(method, asked(probabilities, image, network, seed=4)) for _ in range(2))
    assert (first == again).all()


def test_gradients_of_a_model_without_any_are_refused(probabilities, image):
    with pytest.raises(ContractError, match="region_ablation"):
        attribution.explain("grad_cam", asked(probabilities, image, None))
    assert attribution.explain("region_ablation", asked(probabilities, image, None)).any()


def test_an_unknown_method_is_refused_with_the_known_ones(probabilities, image):
    with pytest.raises(ContractError, match="grad_cam"):
        attribution.explain("magic", asked(probabilities, image, None))


def test_a_network_without_convolution_has_no_grad_cam():
    with pytest.raises(ContractError, match="no convolution"):
        attribution.last_convolution(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), torch.zeros(1, 1, 4, 4))


def test_shapley_values_add_up(probabilities, image):
    regions = ablation.supervoxels(image, 20)
    found = ablation.kernel_shap(probabilities, image, 1, regions, n_samples=200)
    one_each = [found[regions == number].flat[0] for number in range(regions.max() + 1)]
    whole, empty = probabilities(np.stack([image, ablation.blurred(image)]))[:, 1]
    assert sum(one_each) == pytest.approx(whole - empty, abs=1e-4)


def test_regions_are_numbered_without_gap(image):
    regions = ablation.supervoxels(image, 25)
    assert sorted(np.unique(regions)) == list(range(regions.max() + 1))
    assert 5 <= regions.max() + 1 <= 120
    with pytest.raises(ContractError, match="too few regions"):
        ablation.supervoxels(image, 1)


def test_a_good_map_has_lower_deletion_and_higher_insertion_than_a_wrong_one(probabilities, image, truth):
    good = truth.astype(np.float32)
    wrong = np.roll(good, 12, axis=0)
    right_deletion, right_insertion = fidelity.deletion_and_insertion(probabilities, image, 1, good)
    wrong_deletion, wrong_insertion = fidelity.deletion_and_insertion(probabilities, image, 1, wrong)
    assert right_deletion < wrong_deletion
    assert right_insertion > wrong_insertion


def test_infidelity_is_low_for_a_map_that_foretells(probabilities, image, truth):
    good, noise = truth.astype(np.float32), np.random.default_rng(0).normal(size=truth.shape).astype(np.float32)
    assert fidelity.infidelity(probabilities, image, 1, good) < fidelity.infidelity(probabilities, image, 1, noise)


def test_a_map_that_ignores_the_model_is_found_out(probabilities, image, network):
    other = fidelity.randomised(network, seed=1)
    assert any(not torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))
    edges = np.abs(np.diff(image[0], axis=0, append=0)).astype(np.float32)  # the same for every model
    assert fidelity.randomisation_correlation(edges, edges) == pytest.approx(1)
    assert fidelity.randomisation_correlation(edges, np.zeros_like(edges)) == 0


def test_sensitivity_is_that_of_the_largest_change(image):
    assert fidelity.sensitivity(lambda given: np.ones_like(given[0]), image) == 0
    assert fidelity.sensitivity(lambda given: given[0], image) > 0


def test_mass_outside_is_counted(truth):
    assert shortcut.outside(truth.astype(np.float32), truth) == 0
    assert shortcut.outside((~truth).astype(np.float32), truth) == 1


def test_what_is_smoothed_away_leaves_no_form(image, truth):
    filled = shortcut.without(image, truth)
    assert (
        filled[0][truth].std() < 0.3 * image[0][truth].std() or filled[0][truth].mean() < image[0][truth].mean() - 0.3
    )
    assert (filled[0][~truth] == image[0][~truth]).all()


def test_pictures_show_image_and_map(image, truth):
    made = overlay.overlay(image, truth.astype(np.float32))
    assert made.dtype == np.uint8
    assert made.shape[1] == 2 * made.shape[0]
    left, right = made[:, : made.shape[0]], made[:, made.shape[0] :]
    assert (left[..., 0] == left[..., 1]).all()
    assert (right[..., 0] != right[..., 2]).any()
