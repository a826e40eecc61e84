"""Check that derived objects are valid DICOM and belong to their source."""

from __future__ import annotations

from claimed_med.component import component
from claimed_med.handles import DicomCapture, DicomReport, DicomSegmentation, DicomSeries, Report


@component(
    version="1.0.0",
    over="series",
    tags=("dciodvfy", "validation"),
    example={
        "series": "chest_ct",
        "segmentation": "segment-lungs:segmentation",
        "measurements": "measure-segments:measurements",
        "capture": "render-overview:capture",
    },
)
def validate_objects(
    series: DicomSeries,
    segmentation: DicomSegmentation,
    measurements: DicomReport,
    capture: DicomCapture,
) -> Report:
    """Check that derived objects are valid DICOM and belong to their source.

    Every object is checked against its IOD by dciodvfy; errors that the source has too are inherited and only
    counted. Every object must lie in the study of its source and refer to it.

    Args:
        series: The source.
        segmentation: SEG made from it.
        measurements: SR made from it.
        capture: Secondary capture made from it.

    Returns:
        validation: Per object its class, number of new and inherited errors.

    Raises:
        OutputError: An object has an error that its source lacks, or belongs to another study.
    """
    from claimed_med.dicom.acceptance import accept

    made = {"segmentation": segmentation, "measurements": measurements, "capture": capture}
    return Report(accept(series.load(), {name: handle.load() for name, handle in made.items()}))
