"""The body in a CT, by classical means."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Mask = npt.NDArray[np.bool_]


def label_body(volume: Any, threshold_hu: float = -300.0, table_mm: float = 10.0) -> Any:
    """Label the body 1 and all else 0.

    Args:
        volume: Shape (slice, row, column) [HU], affine index -> LPS [mm].
        threshold_hu: Lower limit of tissue [HU].
        table_mm: Thickness below which a plate that touches the body is cut off [mm].

    Returns:
        Volume of uint8 labels on the same grid.
    """
    return volume.with_array(body_mask(volume.array, volume.spacing, threshold_hu, table_mm).astype(np.uint8))


def body_mask(array: npt.NDArray[Any], spacing_mm: tuple[float, ...], threshold_hu: float, table_mm: float) -> Mask:
    """The body as a mask: shape (slice, row, column); spacing in the same order [mm]."""
    tissue = array > threshold_hu
    radius = table_mm / 2
    core = eroded(tissue, spacing_mm[1:], radius)
    trunk = largest_part(core)
    if not trunk.any():
        trunk = largest_part(tissue)
    grown = eroded(~trunk, spacing_mm[1:], radius)
    body = tissue & ~grown
    return np.stack([ndimage.binary_fill_holes(plane) for plane in body]) if body.any() else body


def eroded(mask: Mask, spacing_mm: tuple[float, ...], radius_mm: float) -> Mask:
    """Erode every slice by a disc of `radius_mm`; the image border does not erode."""
    if radius_mm <= 0:
        return mask
    result = np.empty_like(mask)
    for index, plane in enumerate(mask):
        result[index] = ndimage.distance_transform_edt(plane, spacing_mm) > radius_mm if not plane.all() else plane
    return result


def largest_part(mask: Mask) -> Mask:
    """The largest connected part of a mask, or the empty mask."""
    parts, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    found: Mask = parts == int(sizes.argmax())
    return found
