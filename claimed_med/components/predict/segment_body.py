"""Segment the patient's body in a CT."""

from __future__ import annotations

from typing import Annotated

from claimed_med.component import Interval, Unit, component
from claimed_med.handles import DicomSegmentation, DicomSeries


@component(version="1.0.0", over="series", tags=("ct", "body", "segmentation"), example={"series": "chest_ct"})
def segment_body(
    series: DicomSeries,
    *,
    threshold_hu: Annotated[float, Unit("HU"), Interval(-1024, 0)] = -300.0,
    table_mm: Annotated[float, Unit("mm"), Interval(0, 50)] = 10.0,
) -> DicomSegmentation:
    """Segment the body in a CT, air inside included and the table left out.

    Everything denser than a threshold is eroded until the table lets go, the largest part is kept, grown back and
    filled slice by slice. Arms that do not touch the trunk within the images are left out.

    Args:
        series: One CT series; voxel values in HU.
        threshold_hu: Lower limit of tissue [HU].
        table_mm: Thickness below which a plate that touches the body is cut off [mm].

    Returns:
        segmentation: SEG with segment 1 = body, on the grid of `series`.

    Raises:
        InputError: Not a CT series, or not a volume.
    """
    from claimed_med.dicom import seg
    from claimed_med.dicom.series import require_modality
    from claimed_med.imaging.body import label_body

    ct = series.load()
    require_modality("segment-body", ct, "CT")
    return DicomSegmentation(seg.encode(label_body(ct.volume(), threshold_hu, table_mm), source=ct, segments="body"))
