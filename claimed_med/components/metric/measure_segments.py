"""Measure every segment: volume, diameter and intensities."""

from __future__ import annotations

from claimed_med.component import component
from claimed_med.handles import DicomReport, DicomSegmentation, DicomSeries


@component(
    version="1.0.0",
    over="series",
    group="performance",
    tags=("volume", "diameter", "intensity", "tid1500"),
    example={"series": "chest_ct", "segmentation": "segment-lungs:segmentation"},
)
def measure_segments(series: DicomSeries, segmentation: DicomSegmentation) -> DicomReport:
    """Measure every segment: volume, diameter and intensities.

    Volume is the number of voxels times their size. The diameter is the largest distance between two voxel corners of
    the convex hull. Intensity statistics (mean, standard deviation, minimum, median, maximum) are in the unit of the
    series: HU for CT, the stored unit otherwise. An empty segment has the volume 0 and no other number.

    Args:
        series: The series that was segmented.
        segmentation: SEG of that series.

    Returns:
        measurements: TID 1500 report (Comprehensive 3D SR) that refers to SEG and series.

    Raises:
        InputError: Not a volume, or the SEG does not belong to the series.

    Source:
        DICOM PS3.16 TID 1500; IBSI reference manual, doi:10.1148/radiol.2020191145 (names of the measurements).
    """
    from claimed_med.dicom import measurement, sr

    image, objects = series.load(), segmentation.load()
    return DicomReport(sr.encode(measurement.measure(objects, image), source=image, segmentation=objects))
