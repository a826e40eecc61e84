"""A map laid over its image, as a picture that anybody can look at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from scipy import ndimage

_SMALLEST = 256


def overlay(
    image: npt.NDArray[np.float32], found: npt.NDArray[np.float32], height: int = _SMALLEST
) -> npt.NDArray[np.uint8]:
    """Image beside image with map; of a volume the slice with the most of the map.

    Args:
        image: Shape (channel, *spatial), in [0, 1].
        found: Shape (*spatial).
        height: Rows of the picture at least.

    Returns:
        uint8 sRGB of shape (row, column, 3).
    """
    plane, heat = image[0], np.clip(found, 0, None)
    if plane.ndim == 3:
        best = int(np.argmax(heat.reshape(len(heat), -1).sum(axis=1)))
        plane, heat = plane[best], heat[best]
    factor = max(1.0, height / plane.shape[0])
    plane = np.clip(ndimage.zoom(plane, factor, order=1), 0, 1)
    heat = np.clip(ndimage.zoom(heat, factor, order=1), 0, None)
    grey = np.repeat(plane[..., None], 3, axis=2)
    strength = heat / max(float(np.percentile(heat, 99.5)), 1e-12)
    strength = np.clip(strength, 0, 1)[..., None]
    coloured = colormaps["inferno"](strength[..., 0])[..., :3]
    mixed = grey * (1 - 0.6 * strength) + coloured * 0.6 * strength
    return np.asarray(np.concatenate([grey, mixed], axis=1) * 255, dtype=np.uint8)
