"""Segment the brain in a T1-weighted MR of the head."""

from __future__ import annotations

from typing import Annotated

from claimed_med.component import Interval, component
from claimed_med.handles import DicomSegmentation, DicomSeries


@component(
    version="1.0.0",
    image="torch",
    over="series",
    threads=2,
    weights="claimed_med.models.brain:weights_digest",
    tags=("mr", "head", "brain", "segmentation", "network"),
    example={"series": "brain_mr"},
)
def segment_brain(
    series: DicomSeries,
    *,
    probability: Annotated[float, Interval(0.01, 0.99)] = 0.5,
) -> DicomSegmentation:
    """Segment the brain in a T1-weighted MR of the head.

    The pretrained network of the package deepbet (a 3D network in two steps: find the head, then the brain) runs on the
    GPU where there is one. The largest part is kept and its holes are filled. It was trained on T1-weighted images of
    adults; other contrasts may fail, and a result that no human brain has is refused.

    Args:
        series: One MR series of a whole head, at least 100 mm each way; any intensity scale.
        probability: Probability from which a voxel is brain.

    Returns:
        segmentation: SEG with segment 1 = brain, on the grid of `series`.

    Raises:
        InputError: Not an MR series, another BodyPartExamined, no whole head, or no plausible brain (250 to 2500 mL) in it.
        MissingDependencyError: The extra `torch` is not installed.

    Source:
        Fisch et al. 2024, doi:10.1016/j.compbiomed.2024.108845. Licence of weights: MIT.
    """
    from claimed_med.dicom import seg
    from claimed_med.dicom.series import require_body_part, require_modality
    from claimed_med.models.brain import label_brain

    mr = series.load()
    require_modality("segment-brain", mr, "MR", min_slices=16)
    require_body_part("segment-brain", mr, "HEAD", "BRAIN", "SKULL")
    return DicomSegmentation(seg.encode(label_brain(mr.volume(), probability), source=mr, segments="brain"))
