from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from claimed_med.models import evaluate, recipe

CPU = torch.device("cpu")


def test_the_area_is_that_of_scikit_learn():
    generator = np.random.default_rng(0)
    score = generator.random(50).round(1)
    truth = generator.integers(0, 2, 50)
    found = evaluate.mean_auc(np.stack([1 - score, score], axis=1), truth.tolist())
    assert found == pytest.approx(roc_auc_score(truth, score))


def test_a_class_that_is_missing_counts_as_chance():
    assert evaluate.mean_auc(np.array([[0.4, 0.6], [0.7, 0.3]]), [1, 1]) == 0.5


def test_a_list_of_images_gives_what_one_tensor_gives():
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    images = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    both = [evaluate.class_probabilities(network, one, "float32", CPU, 2) for one in (images, list(images))]
    assert (both[0] == both[1]).all()
    np.testing.assert_allclose(both[0].sum(axis=1), 1.0)


class _Copy(nn.Module):
    """Says class 1 where the image is bright."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0))

    def forward(self, image):
        return torch.cat([(0.5 - image) * self.scale, (image - 0.5) * self.scale], dim=1)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_windows_are_put_together_without_seams(overlap):
    chosen = recipe.load("segmenter_small")
    image = (torch.rand(1, 20, 40, 36, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    found = evaluate.voxel_probabilities(_Copy(), image, chosen, "float32", CPU, overlap)
    assert found.shape == (2, 20, 40, 36)
    assert (found.argmax(0) == image[0].long()).all()
