"""Segment both lungs in a chest CT."""

from __future__ import annotations

from typing import Annotated

from claimed_med.component import Interval, Unit, component
from claimed_med.handles import DicomSegmentation, DicomSeries


@component(version="1.0.0", over="series", tags=("ct", "chest", "segmentation"), example={"series": "chest_ct"})
def segment_lungs(
    series: DicomSeries,
    *,
    threshold_hu: Annotated[float, Unit("HU"), Interval(-1024, 0)] = -320.0,
    min_lung_ml: Annotated[float, Unit("mL"), Interval(0, 5000)] = 100.0,
) -> DicomSegmentation:
    """Segment both lungs in a chest CT.

    Air inside the body is found by a threshold, its two largest parts are told apart by their side, and small
    vessels are closed. Right and left are the patient's, from the affine. Large consolidations and effusions are
    missed, as with every threshold method.

    Args:
        series: One CT series that covers the thorax; voxel values in HU.
        threshold_hu: Upper limit of aerated lung [HU].
        min_lung_ml: Smaller parts are no lung [mL].

    Returns:
        segmentation: SEG with segments 1 = right lung, 2 = left lung, on the grid of `series`; a lung that is not
            found is an empty segment.

    Raises:
        InputError: Not a CT series, fewer than 16 slices, or not a volume.

    Source:
        Hu et al. 2001, doi:10.1109/42.929615.
    """
    from claimed_med.dicom import seg
    from claimed_med.dicom.series import require_modality
    from claimed_med.imaging.lungs import label_lungs

    ct = series.load()
    require_modality("segment-lungs", ct, "CT", min_slices=16)
    labels = label_lungs(ct.volume(), threshold_hu, min_lung_ml)
    return DicomSegmentation(seg.encode(labels, source=ct, segments="lungs"))
