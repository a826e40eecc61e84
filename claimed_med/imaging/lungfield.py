"""Where the lungs are in a frontal chest X-ray: good enough to ask whether a model looks there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

# a lung covers at least this part of a frontal film, and both together at most that part
SMALLEST, LARGEST = 0.02, 0.65
MOST_UNEQUAL = 3.0
_DARKEST_BORDER = 0.12


@dataclass(frozen=True)
class LungField:
    """Masks of a radiograph.

    Attributes:
        lungs: Shape (row, column); convex, so that what hides a part of a lung is inside.
        body: Shape (row, column): all but the dark surround.
        found: Whether two lungs were seen; else `lungs` is the place where they usually are.
    """

    lungs: npt.NDArray[np.bool_]
    body: npt.NDArray[np.bool_]
    found: bool


def lung_field(image: npt.NDArray[Any]) -> LungField:
    """Find the lung fields of a frontal chest X-ray.

    Dark regions that do not touch the border of the film, one on each side of the spine; their convex hulls. A
    heuristic without weights: films with large effusions or much rotation get the usual place instead.

    Args:
        image: Shape (row, column), bright = dense.

    Returns:
        The masks.
    """
    values = ndimage.gaussian_filter(np.asarray(image, dtype=np.float64), max(image.shape) / 64)
    low, high = np.percentile(values, [1, 99])
    values = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    body = _body(values)
    for threshold in np.linspace(0.65, 0.25, 9):
        sides = _sides(values < threshold, body)
        if len(sides) == 2:
            return LungField(sides[0] | sides[1], body, True)
    return LungField(_usual(image.shape) & body, body, False)


def _body(values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    dark, n = ndimage.label(values < _DARKEST_BORDER)
    edge = np.unique(np.concatenate([dark[0], dark[-1], dark[:, 0], dark[:, -1]]))
    surround = np.isin(dark, edge[edge > 0]) if n else np.zeros_like(dark, dtype=bool)
    return np.asarray(~surround)


def _sides(dark: npt.NDArray[np.bool_], body: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.bool_]]:
    """The largest dark region of each half that does not touch the film's border."""
    inner = np.zeros_like(dark)
    margin = max(1, min(dark.shape) // 50)
    inner[margin:-margin, margin:-margin] = True
    labels, n = ndimage.label(dark & body)
    if not n:
        return []
    touching = np.unique(labels[~inner])
    sizes = np.bincount(labels.ravel(), minlength=n + 1)
    sizes[0] = 0
    sizes[touching] = 0
    middle = dark.shape[1] / 2
    centres = np.asarray(ndimage.center_of_mass(dark, labels, range(1, n + 1)))[:, 1]
    beside = np.flatnonzero((centres < 0.15 * dark.shape[1]) | (centres > 0.85 * dark.shape[1])) + 1
    sizes[beside] = 0  # air beside the arms
    found = []
    for left in (True, False):
        here = [one for one in range(1, n + 1) if (centres[one - 1] < middle) == left]
        best = max(here, key=lambda one: sizes[one], default=0)
        if best and sizes[best] >= SMALLEST * dark.size:
            found.append(_hull(labels == best))
    areas = sorted(int(one.sum()) for one in found)
    fitting = len(areas) == 2 and areas[1] <= MOST_UNEQUAL * areas[0] and sum(areas) <= LARGEST * dark.size
    return found if fitting else []


def _hull(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    points = np.argwhere(mask)
    try:
        equations = ConvexHull(points).equations
    except QhullError:
        return mask
    grid = np.indices(mask.shape).reshape(2, -1)
    inside = (equations[:, :2] @ grid + equations[:, 2:] <= 1e-9).all(axis=0)
    return np.asarray(inside.reshape(mask.shape))


def _usual(shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    row, column = np.indices(shape[:2]) / np.asarray(shape[:2])[:, None, None]
    ellipses = [((column - middle) / 0.17) ** 2 + ((row - 0.48) / 0.33) ** 2 < 1 for middle in (0.3, 0.7)]
    return np.asarray(ellipses[0] | ellipses[1])
