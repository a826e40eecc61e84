"""Turn a series to a standard orientation."""

from __future__ import annotations

from typing import Literal

from claimed_med.component import component
from claimed_med.handles import DicomSeries


@component(version="1.0.0", over="series", tags=("orientation",), example={"series": "head_mr", "orientation": "sagittal"})
def normalize_orientation(
    series: DicomSeries, *, orientation: Literal["axial", "sagittal", "coronal"] = "axial"
) -> DicomSeries:
    """Turn a series to a standard orientation without resampling.

    Axes are only exchanged and flipped, so every voxel keeps its value and place; an oblique series is turned to the
    nearest axes. Axial slices go from feet to head, sagittal from right to left, coronal from front to back.

    Args:
        series: One series of any modality.
        orientation: Of the slices.

    Returns:
        oriented: Derived images, one a slice, that refer to the source.

    Raises:
        InputError: Not a volume.
    """
    from claimed_med.dicom import image
    from claimed_med.imaging.grid import turned

    source = series.load()
    return DicomSeries(image.encode(turned(source.volume(), orientation), source=source, description=f"Turned to {orientation}"))
