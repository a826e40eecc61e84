"""Letters and marks of lead on a radiograph: small bright things beside the lungs, from which a model can cheat."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

NONE, LEFT, RIGHT = "none", "image left", "image right"
# parts of the film's longer side, of its area, and of its range
_WIDTH, _SMALLEST, _LARGEST, _CONTRAST, _BRIGHT = 0.16, 0.00025, 0.02, 0.2, 0.5
_OUTER = 0.3
_ALONE = 0.75  # part of what surrounds a mark that is darker by the contrast


def marker_side(image: npt.NDArray[Any], lungs: npt.NDArray[np.bool_]) -> str:
    """Where a film has a mark: `image left`, `image right`, or `none`.

    A mark is brighter than all around it, no wider than an eighth of the film, and lies outside of the lungs in the
    outer part of the film. A heuristic without weights: electrodes and pins are marks, too.

    Args:
        image: Shape (row, column), bright = dense.
        lungs: Shape of the image; from `lung_field`.

    Returns:
        The side of the brightest mark.
    """
    values = np.asarray(image, dtype=np.float64)
    low, high = np.percentile(values, [0.5, 99.9])
    values = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    width = max(3, round(_WIDTH * max(values.shape)) | 1)
    raised = values - ndimage.grey_opening(values, size=(width, width), mode="nearest")
    outer = np.ones(values.shape, dtype=bool)
    margins = [round(_OUTER * length) for length in values.shape]
    outer[margins[0] : -margins[0], margins[1] : -margins[1]] = False
    bright = (raised > _CONTRAST) & (values > _BRIGHT) & outer & ~lungs
    joined, _ = ndimage.label(ndimage.binary_dilation(bright))
    best, side = 0.0, NONE
    for number, box in enumerate(ndimage.find_objects(joined), 1):
        inside = (joined == number) & bright
        small = max(one.stop - one.start for one in box) <= 1.5 * width
        if not small or not _SMALLEST * values.size <= inside.sum() <= _LARGEST * values.size:
            continue
        strength = float(raised[inside].sum())
        if strength > best and _stands_alone(values, inside, joined == number, width):
            middle = (box[1].start + box[1].stop) / 2
            best, side = strength, LEFT if middle < values.shape[1] / 2 else RIGHT
    return side


def _stands_alone(
    values: npt.NDArray[np.float64], inside: npt.NDArray[np.bool_], joined: npt.NDArray[np.bool_], width: int
) -> bool:
    """Whether what surrounds a region is darker on nearly all sides; edges and stripes of the body go on."""
    near = ndimage.binary_dilation(joined, iterations=max(1, width // 8))
    ring = ndimage.binary_dilation(near, iterations=max(1, width // 8)) & ~near
    darker = values[ring] < float(np.median(values[inside])) - _CONTRAST
    return bool(darker.size and darker.mean() >= _ALONE)
