"""How well one mask agrees with another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import SimpleITK

if TYPE_CHECKING:
    from collections.abc import Sequence

Mask = npt.NDArray[np.bool_]
UNDEFINED = "a mask is empty"


def scores(mask: Mask, truth: Mask, spacing_mm: Sequence[float], tolerance_mm: float) -> dict[str, Any]:
    """Overlap and surface distances of two masks on one grid.

    Args:
        mask: Shape (slice, row, column).
        truth: The same shape.
        spacing_mm: Between slices, rows, columns [mm].
        tolerance_mm: For NSD [mm].

    Returns:
        `dice`, `jaccard`, `hd95_mm`, `mean_surface_distance_mm`, `nsd`, `volume_ml`, `reference_volume_ml`; None, with
        `undefined`, for what an empty mask leaves without a value.
    """
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    both, either = int((mask & truth).sum()), int((mask | truth).sum())
    sizes = int(mask.sum()), int(truth.sum())
    found: dict[str, Any] = {
        "dice": 2 * both / sum(sizes) if either else None,
        "jaccard": both / either if either else None,
        "hd95_mm": None,
        "mean_surface_distance_mm": None,
        "nsd": None,
        "volume_ml": sizes[0] * voxel_ml,
        "reference_volume_ml": sizes[1] * voxel_ml,
        "undefined": "" if all(sizes) else UNDEFINED,
    }
    if all(sizes):
        there, back = _distances(mask, truth, spacing_mm)
        together = np.concatenate([there, back])
        found["hd95_mm"] = float(max(np.percentile(there, 95), np.percentile(back, 95)))
        found["mean_surface_distance_mm"] = float(together.mean())
        found["nsd"] = float((together <= tolerance_mm).mean())
    return found


def _distances(mask: Mask, truth: Mask, spacing_mm: Sequence[float]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Distance of every border voxel of each mask to the border of the other [mm]."""
    borders = [_border(one) for one in (mask, truth)]
    fields = [_distance_to(one, spacing_mm) for one in borders]
    return fields[1][borders[0]], fields[0][borders[1]]


def _border(mask: Mask) -> Mask:
    image = SimpleITK.GetImageFromArray(np.pad(mask, 1).astype(np.uint8))
    contour = SimpleITK.BinaryContour(image, fullyConnected=False, backgroundValue=0, foregroundValue=1)
    found: Mask = SimpleITK.GetArrayFromImage(contour)[1:-1, 1:-1, 1:-1] > 0
    return found


def _distance_to(border: Mask, spacing_mm: Sequence[float]) -> npt.NDArray[Any]:
    image = SimpleITK.GetImageFromArray(border.astype(np.uint8))
    image.SetSpacing([float(size) for size in spacing_mm][::-1])
    field = SimpleITK.SignedMaurerDistanceMap(
        image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True
    )
    return np.asarray(np.abs(SimpleITK.GetArrayFromImage(field)))
