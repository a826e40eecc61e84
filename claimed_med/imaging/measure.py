"""Size and intensity of a mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist

NAN = float("nan")


def statistics(array: npt.NDArray[Any], mask: npt.NDArray[np.bool_], affine: npt.NDArray[Any]) -> dict[str, float]:
    """Volume, diameter and intensity statistics of a mask.

    Args:
        array: Shape (slice, row, column), real units.
        mask: The same shape.
        affine: Index -> LPS [mm].

    Returns:
        `volume_ml`, `diameter_mm` and `mean`, `standard_deviation`, `minimum`, `median`, `maximum` in the unit of
        `array`. An empty mask has volume 0 and NaN for all else.
    """
    values = array[mask].astype(np.float64)
    voxel_ml = abs(float(np.linalg.det(np.asarray(affine)[:3, :3]))) / 1000.0
    if values.size == 0:
        names = ("diameter_mm", "mean", "standard_deviation", "minimum", "median", "maximum")
        return {"volume_ml": 0.0, **dict.fromkeys(names, NAN)}
    return {
        "volume_ml": values.size * voxel_ml,
        "diameter_mm": diameter(mask, affine),
        "mean": float(values.mean()),
        "standard_deviation": float(values.std()),
        "minimum": float(values.min()),
        "median": float(np.median(values)),
        "maximum": float(values.max()),
    }


def diameter(mask: npt.NDArray[np.bool_], affine: npt.NDArray[Any]) -> float:
    """The largest distance between two corners of the mask's voxels [mm]; 0 for an empty mask."""
    ends = _line_ends(mask)
    if len(ends) == 0:
        return 0.0
    corners = np.unique((ends[:, None, :] + _CORNERS[None]).reshape(-1, 3), axis=0)
    points = corners @ np.asarray(affine, np.float64)[:3, :3].T
    try:
        points = points[ConvexHull(points).vertices]
    except QhullError:
        return float(pdist(points).max())
    return float(pdist(points).max())


_CORNERS = np.array([(i, j, k) for i in (-0.5, 0.5) for j in (-0.5, 0.5) for k in (-0.5, 0.5)])


def _line_ends(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """First and last voxel of every row of voxels: they hold the hull."""
    lines = np.argwhere(mask.any(axis=2))
    if len(lines) == 0:
        return np.empty((0, 3), np.int64)
    rows = mask[lines[:, 0], lines[:, 1]]
    first = rows.argmax(axis=1)
    last = mask.shape[2] - 1 - rows[:, ::-1].argmax(axis=1)
    return np.concatenate([np.c_[lines, first], np.c_[lines, last]])
