"""Compare a segmentation with a reference."""

from __future__ import annotations

from typing import Annotated

from claimed_med.component import Interval, Unit, component
from claimed_med.handles import DicomSegmentation, Report


@component(
    version="1.0.0",
    over="series",
    group="performance",
    tags=("dice", "hausdorff", "surface distance"),
    example={"segmentation": "segment-lungs:segmentation", "reference": "segment-lungs:segmentation"},
)
def compare_segments(
    segmentation: DicomSegmentation,
    reference: DicomSegmentation,
    *,
    tolerance_mm: Annotated[float, Unit("mm"), Interval(0, 50)] = 2.0,
) -> Report:
    """Compare a segmentation with a reference, segment by segment.

    Segments are paired by their code and laterality, not by number. Dice and Jaccard count voxels; surface distances
    are those of SimpleITK between the border voxels of both masks, in both directions: HD95 is the larger of the two
    95th percentiles, the mean surface distance the mean over both. NSD is the share of both borders within the tolerance.
    What an empty segment leaves undefined is null, with the reason.

    Args:
        segmentation: SEG to be judged.
        reference: SEG taken as true; both must share a frame of reference.
        tolerance_mm: Distance within which borders agree [mm].

    Returns:
        scores: Per segment dice, jaccard, hd95_mm, mean_surface_distance_mm, nsd, volumes; unpaired segments by name.

    Raises:
        InputError: Frames of reference differ, or no segment can be paired.

    Source:
        Maier-Hein et al. 2024, doi:10.1038/s41592-023-02151-z (definitions).
    """
    from claimed_med.dicom.comparison import compare

    return Report(compare(segmentation.load(), reference.load(), tolerance_mm))
