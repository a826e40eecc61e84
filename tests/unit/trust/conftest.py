from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from claimed_med.models.evaluate import class_probabilities


class Patch(nn.Module):
    """Says class 1 as strongly as the mean of one corner of the image is bright."""

    def __init__(self, dims: int, place: slice) -> None:
        super().__init__()
        self.place = place
        kind = nn.Conv2d if dims == 2 else nn.Conv3d
        self.convolution = kind(1, 2, 3, padding=1, bias=False)
        self.activation = nn.ReLU(inplace=True)
        with torch.no_grad():
            self.convolution.weight.zero_()
            self.convolution.weight[1, 0][(1,) * dims] = 1.0

    def forward(self, image):
        seen = self.activation(self.convolution(image))
        part = seen[(slice(None), slice(None), *([self.place] * (image.ndim - 2)))]
        return 12 * (part.flatten(2).mean(dim=2) - 0.25) * torch.tensor([0.0, 1.0])


@pytest.fixture(params=[2, 3])
def dims(request):
    return request.param


@pytest.fixture
def network(dims):
    return Patch(dims, slice(4, 10)).eval()


@pytest.fixture
def probabilities(network):
    return lambda batch: class_probabilities(network, torch.from_numpy(batch), "float32", torch.device("cpu"), 64)


@pytest.fixture
def image(dims):
    """Bright where the network looks, and bright where it does not."""
    values = np.random.default_rng(0).random((1, *([24] * dims))).astype(np.float32) * 0.2
    values[(0, *([slice(4, 10)] * dims))] += 0.7
    values[(0, *([slice(14, 20)] * dims))] += 0.7
    return values


@pytest.fixture
def truth(dims):
    mask = np.zeros([24] * dims, dtype=bool)
    mask[(slice(4, 10),) * dims] = True
    return mask
