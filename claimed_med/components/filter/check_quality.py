"""Let only sound volumes pass."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from claimed_med.component import Interval, Unit, component
from claimed_med.handles import DicomSeries, Report


class CheckQualityOutputs(NamedTuple):
    """What check_quality returns."""

    checked: DicomSeries
    quality: Report


@component(version="1.0.0", over="series", tags=("quality", "geometry"), example={"series": "chest_ct"})
def check_quality(
    series: DicomSeries,
    *,
    min_slices: Annotated[int, Interval(1, 10000)] = 1,
    max_spacing_mm: Annotated[float, Unit("mm"), Interval(0.01, 1000)] = 1000.0,
) -> CheckQualityOutputs:
    """Let only sound volumes pass, unchanged.

    A volume is refused when slices are missing, doubled, unevenly spaced, tilted or truncated, when it has no
    position, when its pixels cannot be decoded, or when all of its voxels have one value.

    Args:
        series: One series of any modality.
        min_slices: Fewest slices that are allowed.
        max_spacing_mm: Largest distance between slices that is allowed [mm].

    Returns:
        checked: The series as it came.
        quality: Shape, spacing, intensity range and findings.

    Raises:
        InputError: The series is no sound volume; the findings say why.
    """
    from claimed_med.dicom.quality import check

    return CheckQualityOutputs(series, Report(check(series.load(), min_slices, max_spacing_mm)))
