"""The lungs in a chest CT, by classical means (after Hu et al. 2001, doi:10.1109/42.929615)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from claimed_med.imaging.body import Mask, body_mask

RIGHT, LEFT = 1, 2
_CLOSING_MM = 5.0
_SPLIT_STEPS_MM = (0.0, 2.0, 4.0, 6.0, 8.0)


def label_lungs(volume: Any, threshold_hu: float = -320.0, min_lung_ml: float = 100.0) -> Any:
    """Label the patient's right lung 1 and left lung 2.

    Args:
        volume: Shape (slice, row, column) [HU], affine index -> LPS [mm].
        threshold_hu: Upper limit of aerated lung [HU].
        min_lung_ml: Smaller parts are no lung [mL].

    Returns:
        Volume of uint8 labels on the same grid.
    """
    spacing = tuple(float(size) for size in volume.spacing)
    body = body_mask(volume.array, spacing, threshold_hu, 10.0)
    air = ndimage.binary_opening(body & (volume.array < threshold_hu), iterations=1)
    voxel_ml = float(np.prod(spacing)) / 1000.0
    parts = _largest_two(air, min_lung_ml / voxel_ml, spacing)
    x = _lps_x(volume)
    labels = np.zeros(volume.array.shape, np.uint8)
    middle = float(x[body].mean()) if body.any() else 0.0
    centres = [float(x[part].mean()) for part in parts]
    for part, centre in zip(parts, centres, strict=True):
        border = max(centres) if len(parts) == 2 else middle
        side = RIGHT if centre < border else LEFT
        labels[_closed(part, spacing) & body & (labels == 0)] = side
    return volume.with_array(labels)


def _largest_two(air: Mask, min_voxels: float, spacing: tuple[float, ...]) -> list[Mask]:
    """The two largest parts; when one joined part holds nearly all, it is cut by erosion and grown back."""
    for step in _SPLIT_STEPS_MM:
        seeds = air if step == 0 else ndimage.distance_transform_edt(air, spacing) > step
        parts, count = ndimage.label(seeds)
        if count == 0:
            return []
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        order = np.argsort(sizes)[::-1][:2]
        kept = [int(index) for index in order if sizes[index] >= min_voxels * (1 if step == 0 else 0.3)]
        if len(kept) == 2 and sizes[kept[1]] > 0.2 * sizes[kept[0]]:
            return [parts == index for index in kept] if step == 0 else _grown(air, parts, kept, spacing)
    parts, _ = ndimage.label(air)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return [parts == int(index) for index in np.argsort(sizes)[::-1][:2] if sizes[index] >= max(min_voxels, 1)]


def _grown(air: Mask, parts: npt.NDArray[Any], kept: list[int], spacing: tuple[float, ...]) -> list[Mask]:
    """Give every voxel of air to the nearer seed."""
    distances = [ndimage.distance_transform_edt(parts != index, spacing) for index in kept]
    nearer = distances[0] <= distances[1]
    both, _ = ndimage.label(air)
    wanted = np.isin(both, np.unique(both[np.isin(parts, kept)]))
    return [air & wanted & nearer, air & wanted & ~nearer]


def _closed(mask: Mask, spacing: tuple[float, ...]) -> Mask:
    """Close vessels within each slice, and fill holes."""
    result = np.zeros_like(mask)
    for index, plane in enumerate(mask):
        if plane.any():
            near = ndimage.distance_transform_edt(~plane, spacing[1:]) <= _CLOSING_MM
            inside = ndimage.distance_transform_edt(np.pad(near, 1, mode="edge"), spacing[1:])[1:-1, 1:-1]
            result[index] = ndimage.binary_fill_holes(plane | (near & (inside > _CLOSING_MM)))
    return result


def _lps_x(volume: Any) -> npt.NDArray[np.float64]:
    """LPS x [mm] of every voxel: it grows towards the patient's left."""
    affine = np.asarray(volume.affine)
    i, j, k = np.ogrid[tuple(slice(size) for size in volume.array.shape)]
    return np.asarray(affine[0, 0] * i + affine[0, 1] * j + affine[0, 2] * k + affine[0, 3])
