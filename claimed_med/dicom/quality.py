"""What makes a volume sound, beyond geometry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from claimed_med.dicom.finding import Finding
from claimed_med.errors import InputError

if TYPE_CHECKING:
    from claimed_med.dicom.series import Series


def check(series: Series, min_slices: int, max_spacing_mm: float) -> dict[str, Any]:
    """Read a volume and judge it.

    Args:
        series: The series.
        min_slices: Fewest slices that are allowed.
        max_spacing_mm: Largest distance between slices that is allowed [mm].

    Returns:
        Shape, spacing [mm], intensity range and findings.

    Raises:
        InputError: It is not sound; all reasons at once.
    """
    volume = series.volume()
    array, spacing = volume.array, volume.spacing
    found = []
    if len(array) < min_slices:
        told = f"the volume has {len(array)} slices; at least {min_slices} are wanted"
        found.append(Finding("TooFewSlices", told, {"n_slices": len(array)}, fatal=True))
    if spacing[0] > max_spacing_mm:
        told = f"slices are {spacing[0]:.2f} mm apart; at most {max_spacing_mm:g} mm are wanted"
        found.append(Finding("TooThick", told, {"spacing_mm": round(float(spacing[0]), 4)}, fatal=True))
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        found.append(Finding("NotFinite", "some voxels are no finite number", {}, fatal=True))
    elif low == high:
        found.append(Finding("Constant", f"all voxels have the value {low:g}", {"value": low}, fatal=True))
    if found:
        raise InputError(
            "check-quality",
            "; ".join(one.text for one in found),
            do="choose another series",
            findings=[*series.findings, *found],
        )
    return {
        "modality": series.modality,
        "shape": [int(size) for size in array.shape],
        "spacing_mm": [round(float(size), 6) for size in spacing],
        "intensity": {"low": low, "high": high, "dtype": str(array.dtype)},
        "findings": [{"name": one.name, "text": one.text, "numbers": one.numbers} for one in series.findings],
    }
