"""Explanations that need nothing but probabilities: change regions of an image and see what the model says.

Regions are supervoxels (SLIC); what is taken away is replaced by the blurred image, since a constant patch is nothing
that a model has ever seen. All changed images of a method are predicted in a few batches.
"""

from __future__ import annotations

from collections.abc import Callable
from math import comb

import numpy as np
import numpy.typing as npt
import SimpleITK
from scipy import ndimage

from claimed_med.errors import ContractError

Floats = npt.NDArray[np.float32]
Probabilities = Callable[[Floats], npt.NDArray[np.float64]]
BLUR = 1 / 12


def blurred(image: Floats) -> Floats:
    """The image without its details: Gaussian with a width of a twelfth of the image.

    Args:
        image: Shape (channel, *spatial).
    """
    widths = [0.0, *(length * BLUR for length in image.shape[1:])]
    return np.asarray(ndimage.gaussian_filter(image, widths), dtype=np.float32)


def supervoxels(image: Floats, n_regions: int = 40) -> npt.NDArray[np.int64]:
    """Regions of like intensity that lie together, 2D or 3D.

    Args:
        image: Shape (channel, *spatial); the channels' mean is used.
        n_regions: About how many.

    Returns:
        Shape (*spatial); numbers from 0 without gap.

    Source:
        Achanta et al. 2012 (SLIC), doi:10.1109/TPAMI.2012.120.
    """
    if n_regions < 2:
        raise ContractError("explanation", "too few regions", got=n_regions, allowed="2 or more")
    mean = np.ascontiguousarray(image.mean(axis=0))
    step = max(2, round(float(np.prod(mean.shape) / n_regions) ** (1 / mean.ndim)))
    slic = SimpleITK.SLICImageFilter()
    slic.SetSuperGridSize([min(step, length) for length in reversed(mean.shape)])
    slic.SetSpatialProximityWeight(0.3)
    slic.SetMaximumNumberOfIterations(10)
    slic.SetEnforceConnectivity(True)
    slic.SetInitializationPerturbation(False)
    slic.SetNumberOfThreads(1)
    labels = SimpleITK.GetArrayFromImage(slic.Execute(SimpleITK.GetImageFromArray(mean)))
    numbers = np.unique(labels, return_inverse=True)[1]
    return np.asarray(numbers.reshape(mean.shape), dtype=np.int64)


def mixed(image: Floats, replacement: Floats, regions: npt.NDArray[np.int64], kept: npt.NDArray[np.bool_]) -> Floats:
    """Images in which some regions are kept and the others replaced.

    Args:
        image: Shape (channel, *spatial).
        replacement: Of the same shape.
        regions: Shape (*spatial).
        kept: Shape (n, region).

    Returns:
        Shape (n, channel, *spatial).
    """
    inside = kept[:, regions][:, None]
    return np.where(inside, image[None], replacement[None]).astype(np.float32)


def region_ablation(
    probabilities: Probabilities, image: Floats, target: int, regions: npt.NDArray[np.int64], batch_size: int = 16
) -> Floats:
    """How much the target's probability falls when a region is taken away: the model-agnostic default.

    Args:
        probabilities: (n, channel, *spatial) -> (n, class).
        image: Shape (channel, *spatial).
        target: Class.
        regions: From `supervoxels`.
        batch_size: Images at once.

    Returns:
        Shape (*spatial): the fall of log-odds, the same all over a region.
    """
    n = int(regions.max()) + 1
    kept = np.concatenate([np.ones((1, n), bool), ~np.eye(n, dtype=bool)])
    scores = _log_odds(_predicted(probabilities, image, regions, kept, target, batch_size))
    return np.asarray((scores[0] - scores[1:])[regions], dtype=np.float32)


def lime(
    probabilities: Probabilities,
    image: Floats,
    target: int,
    regions: npt.NDArray[np.int64],
    *,
    n_samples: int = 200,
    seed: int = 0,
    kernel_width: float = 0.25,
    batch_size: int = 16,
) -> Floats:
    """Coefficients of a ridge regression of the probability on which regions are there, near to the image.

    Args:
        probabilities: As in `region_ablation`.
        image: As in `region_ablation`.
        target: Class.
        regions: From `supervoxels`.
        n_samples: Changed images.
        seed: Which regions are taken away.
        kernel_width: Of the weight by cosine distance from the whole image.
        batch_size: Images at once.

    Returns:
        Shape (*spatial).

    Source:
        Ribeiro et al. 2016, doi:10.1145/2939672.2939778.
    """
    n = int(regions.max()) + 1
    kept = np.random.default_rng(seed).integers(0, 2, (n_samples, n)).astype(bool)
    kept[0] = True
    found = _predicted(probabilities, image, regions, kept, target, batch_size)
    share = kept.mean(axis=1)
    distance = 1 - np.sqrt(share)  # cosine distance of a 0/1 row from the row of ones
    weights = np.sqrt(np.exp(-(distance**2) / kernel_width**2))
    return np.asarray(_ridge(kept.astype(np.float64), found, weights, 1.0)[regions], dtype=np.float32)


def kernel_shap(
    probabilities: Probabilities,
    image: Floats,
    target: int,
    regions: npt.NDArray[np.int64],
    *,
    n_samples: int = 200,
    seed: int = 0,
    batch_size: int = 16,
) -> Floats:
    """Shapley values of the regions by weighted regression; each sample comes with its complement.

    Args:
        probabilities: As in `region_ablation`.
        image: As in `region_ablation`.
        target: Class.
        regions: From `supervoxels`.
        n_samples: Changed images.
        seed: Which regions are taken away.
        batch_size: Images at once.

    Returns:
        Shape (*spatial); the values of all regions add up to p(image) - p(blurred image).

    Source:
        Lundberg and Lee 2017, doi:10.48550/arXiv.1705.07874.
    """
    n = int(regions.max()) + 1
    generator = np.random.default_rng(seed)
    sizes = np.arange(1, n)
    chance = (n - 1) / (sizes * (n - sizes))
    drawn = generator.choice(sizes, size=max(1, n_samples // 2), p=chance / chance.sum())
    half = np.zeros((len(drawn), n), dtype=bool)
    for row, size in zip(half, drawn, strict=True):
        row[generator.choice(n, size=size, replace=False)] = True
    kept = np.concatenate([np.ones((1, n), bool), np.zeros((1, n), bool), half, ~half])
    found = _predicted(probabilities, image, regions, kept, target, batch_size)
    whole, empty = found[0], found[1]
    # the last region follows from the sum of all
    rows = kept[2:, :-1].astype(np.float64) - kept[2:, -1:]
    wanted = found[2:] - empty - kept[2:, -1] * (whole - empty)
    values = _ridge(rows, wanted, np.ones(len(rows)), 1e-6, intercept=False)
    values = np.append(values, whole - empty - values.sum())
    return np.asarray(values[regions], dtype=np.float32)


def shapley_weight(n_regions: int, size: int) -> float:
    """The kernel's weight of one set of `size` regions."""
    return (n_regions - 1) / (comb(n_regions, size) * size * (n_regions - size))


def _predicted(
    probabilities: Probabilities,
    image: Floats,
    regions: npt.NDArray[np.int64],
    kept: npt.NDArray[np.bool_],
    target: int,
    batch_size: int,
) -> npt.NDArray[np.float64]:
    replacement = blurred(image)
    found = [
        probabilities(mixed(image, replacement, regions, kept[start : start + batch_size]))[:, target]
        for start in range(0, len(kept), batch_size)
    ]
    return np.concatenate(found)


def _log_odds(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    clipped = np.clip(values, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _ridge(
    rows: npt.NDArray[np.float64],
    wanted: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
    strength: float,
    *,
    intercept: bool = True,
) -> npt.NDArray[np.float64]:
    middle = np.average(rows, axis=0, weights=weights) if intercept else 0.0
    level = np.average(wanted, weights=weights) if intercept else 0.0
    centred = rows - middle
    weighted = centred * weights[:, None]
    matrix = weighted.T @ centred + strength * np.eye(rows.shape[1])
    return np.asarray(np.linalg.solve(matrix, weighted.T @ (wanted - level)))
