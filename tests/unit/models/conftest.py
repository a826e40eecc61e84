from __future__ import annotations

import numpy as np
import pytest
import torch

from claimed_med.models import networks, prepare, recipe
from claimed_med.models.samples import Samples


def pictures(n, seed, size=32, n_classes=2):
    """Noise with a bright square for class 1 (a darker one for class 2)."""
    generator = np.random.default_rng(seed)
    images, targets = [], []
    for number in range(n):
        target = number % n_classes
        values = generator.random((1, size, size)).astype(np.float32) * 0.5
        if target:
            values[0, 8:16, 8:16] += 0.45 if target == 1 else -0.2
        images.append(torch.from_numpy(values.clip(0, 1)))
        targets.append(target)
    return Samples([f"{seed}-{number:03d}" for number in range(n)], images, targets)


def described(chosen, n_classes=2, size=None):
    return networks.definition(
        chosen.network,
        task=chosen.task,
        dims=chosen.dims,
        n_channels=1,
        n_classes=n_classes,
        size=size or prepare.size_of(chosen),
    )


@pytest.fixture
def small():
    """A recipe that trains in a second, and its network for pictures of 32 x 32."""
    chosen = recipe.load("xray_small").changed(epochs=3, batch_size=8, patience=0)
    return chosen, described(chosen, size=(32, 32))
