"""Whether a map tells the truth about its model: every map is measured, none is only looked at."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import spearmanr
from torch import nn

from claimed_med.trust.ablation import Floats, Probabilities, blurred


@dataclass(frozen=True)
class Fidelity:
    """How well a map says what matters to the model.

    Attributes:
        deletion: Mean probability, relative to the whole image, while the most important pixels are blurred away
            step by step; low is good.
        insertion: The same while they are put back into the blurred image; high is good.
        infidelity: Mean squared difference of what the map foretells and what small changes do; low is good.
        sensitivity: Largest relative change of the map under small noise; low is good.
    """

    deletion: float
    insertion: float
    infidelity: float
    sensitivity: float


def deletion_and_insertion(
    probabilities: Probabilities, image: Floats, target: int, found: Floats, n_steps: int = 12
) -> tuple[float, float]:
    """Areas under the deletion and the insertion curve.

    Args:
        probabilities: (n, channel, *spatial) -> (n, class).
        image: Shape (channel, *spatial).
        target: Class.
        found: The map, shape (*spatial).
        n_steps: Steps of each curve.

    Returns:
        Both relative to the probability of the whole image, and at most 1.

    Source:
        Petsiuk et al. 2018 (RISE), doi:10.48550/arXiv.1806.07421.
    """
    order = np.argsort(-found.ravel(), kind="stable")
    ranks = np.empty(order.size, dtype=np.int64)
    ranks[order] = np.arange(order.size)
    limits = np.linspace(0, order.size, n_steps + 1)
    important = ranks.reshape(found.shape)[None] < limits.reshape(-1, *([1] * found.ndim))
    replacement = blurred(image)
    deleted = np.where(important[:, None], replacement[None], image[None]).astype(np.float32)
    inserted = np.where(important[:, None], image[None], replacement[None]).astype(np.float32)
    values = probabilities(np.concatenate([deleted, inserted]))[:, target]
    whole = max(float(values[0]), 1e-6)
    deletion, insertion = np.clip(values / whole, 0, 1).reshape(2, -1)
    return float(np.trapezoid(deletion, dx=1 / n_steps)), float(np.trapezoid(insertion, dx=1 / n_steps))


def infidelity(
    probabilities: Probabilities, image: Floats, target: int, found: Floats, *, n_samples: int = 16, seed: int = 0
) -> float:
    """Infidelity under square patches that are blurred away; the map is scaled as well as it can be.

    Args:
        probabilities: As in `deletion_and_insertion`.
        image: As in `deletion_and_insertion`.
        target: Class.
        found: The map.
        n_samples: Patches.
        seed: Of their places.

    Source:
        Yeh et al. 2019, doi:10.48550/arXiv.1901.09392.
    """
    generator = np.random.default_rng(seed)
    replacement = blurred(image)
    changed = np.repeat(image[None], n_samples, axis=0)
    foretold = np.zeros(n_samples)
    for number in range(n_samples):
        cut = tuple(_patch(generator, length) for length in found.shape)
        place: tuple[Any, ...] = (slice(None), *cut)
        changed[number][place] = replacement[place]
        foretold[number] = float((found[cut] * (image - replacement).sum(axis=0)[cut]).sum())
    values = probabilities(np.concatenate([image[None], changed]))[:, target]
    fallen = values[0] - values[1:]
    scale = float((foretold * fallen).sum() / max(float((foretold**2).sum()), 1e-12))
    return float(np.mean((scale * foretold - fallen) ** 2))


def sensitivity(explain: Callable[[Floats], Floats], image: Floats, *, n_samples: int = 3, seed: int = 0) -> float:
    """Largest relative change of the map when noise of 0.02 is added to the image.

    Args:
        explain: Image -> map.
        image: Shape (channel, *spatial), in [0, 1].
        n_samples: Noisy images.
        seed: Of the noise.

    Source:
        Yeh et al. 2019, doi:10.48550/arXiv.1901.09392.
    """
    generator = np.random.default_rng(seed)
    first = explain(image)
    size = max(float(np.linalg.norm(first)), 1e-12)
    changes = []
    for _ in range(n_samples):
        noisy = np.clip(image + generator.uniform(-0.02, 0.02, image.shape), 0, 1).astype(np.float32)
        changes.append(float(np.linalg.norm(explain(noisy) - first)) / size)
    return max(changes)


def randomised(network: nn.Module, seed: int = 0) -> nn.Module:
    """A copy of a network with random weights in every layer.

    Args:
        network: Left as it is.
        seed: Of the weights.
    """
    made = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for one in made.parameters():
            values = one.detach().cpu()
            drawn = torch.randn(values.shape, generator=generator) * values.std(unbiased=False).clamp(min=1e-3)
            one.copy_(drawn + (values.mean() if values.ndim <= 1 else 0.0))
    return made.eval()


def randomisation_correlation(found: Floats, of_random: Floats) -> float:
    """Rank correlation of a map with that of a network with random weights; near 1 means the map ignores the model.

    Source:
        Adebayo et al. 2018, doi:10.48550/arXiv.1810.03292.
    """
    first, second = np.abs(found).ravel(), np.abs(of_random).ravel()
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return float(spearmanr(first, second).statistic)


def pointing(found: Floats, truth: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Whether the strongest pixel lies in the truth, and how much of the positive map does.

    Args:
        found: The map.
        truth: Mask of the same shape.

    Returns:
        `hit` (0 or 1), `mass_inside`, and `chance`, the part of the image that is truth.

    Source:
        Zhang et al. 2018, doi:10.1007/s11263-017-1059-x.
    """
    positive = np.clip(found, 0, None)
    strongest = np.unravel_index(int(np.argmax(found)), found.shape)
    return {
        "hit": float(truth[strongest]),
        "mass_inside": float(positive[truth].sum() / max(float(positive.sum()), 1e-12)),
        "chance": float(truth.mean()),
    }


def _patch(generator: np.random.Generator, length: int) -> slice:
    size = max(1, length // 4)
    start = int(generator.integers(0, length - size + 1))
    return slice(start, start + size)
