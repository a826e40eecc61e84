"""Resample a series to another voxel size."""

from __future__ import annotations

from typing import Annotated, Literal

from claimed_med.component import Interval, Unit, component
from claimed_med.handles import DicomSeries


@component(version="1.0.0", over="series", tags=("resample", "spacing"), example={"series": "head_mr", "spacing_mm": 5.0})
def resample_series(
    series: DicomSeries,
    *,
    spacing_mm: Annotated[float, Unit("mm"), Interval(0.1, 20)] = 1.0,
    interpolation: Literal["linear", "nearest", "b-spline"] = "linear",
    repair: Literal["none", "drop_duplicates", "resample_uneven", "untilt", "all"] = "none",
) -> DicomSeries:
    """Resample a series to cubic voxels.

    The field of view and the orientation stay; along axes that become coarser the image is smoothed first (Gaussian,
    sigma = half the ratio of voxel sizes) so that no detail is aliased, except with `nearest`.

    Args:
        series: One series of any modality.
        spacing_mm: Voxel size in all three directions [mm].
        interpolation: Between voxels.
        repair: What to mend first in a series that is refused otherwise: exact copies of slices, uneven distances, a
            tilted gantry, or all of these. What was done is recorded in the lineage.

    Returns:
        resampled: Derived images, one a slice, that refer to the source.

    Raises:
        InputError: Not a volume, or the result would not fit into memory.
    """
    from claimed_med.dicom import image
    from claimed_med.dicom.repair import chosen
    from claimed_med.imaging.grid import resample

    source = series.load(repair=chosen(repair))
    volume = resample(source.volume(), spacing_mm, interpolation)
    return DicomSeries(image.encode(volume, source=source, description=f"Resampled to {spacing_mm:g} mm ({interpolation})"))
