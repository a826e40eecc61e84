"""Pair the segments of two segmentations and compare them on one grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from claimed_med.dicom import seg
from claimed_med.errors import InputError
from claimed_med.imaging.compare import scores

if TYPE_CHECKING:
    from highdicom import Volume
    from pydicom import Dataset

    from claimed_med.dicom.masks import Segment


def compare(judged: Dataset, reference: Dataset, tolerance_mm: float) -> dict[str, Any]:
    """Compare two segmentations.

    Args:
        judged: SEG to be judged.
        reference: SEG taken as true.
        tolerance_mm: Distance within which borders agree [mm].

    Returns:
        `segments`: one entry a pair; `only_in_segmentation` and `only_in_reference`: labels without a partner.

    Raises:
        InputError: Frames of reference differ, or no segment can be paired.
    """
    frames = {str(one.get("FrameOfReferenceUID", "")) for one in (judged, reference)}
    if len(frames) > 1:
        raise InputError(
            "compare-segments", "the two lie in different frames of reference", do="compare objects of one series"
        )
    ours, theirs = ({_code(one): one for one in seg.decode(dataset)} for dataset in (judged, reference))
    shared = [code for code in theirs if code in ours]
    if not shared:
        raise InputError(
            "compare-segments",
            "no segment of one has a partner in the other",
            do="check that both name the same structures",
        )
    entries = []
    for code in shared:
        mask, truth, spacing = _on_one_grid(ours[code].mask, theirs[code].mask)
        entries.append(
            {"label": theirs[code].label, "code": "/".join(code), **scores(mask, truth, spacing, tolerance_mm)}
        )
    return {
        "tolerance_mm": tolerance_mm,
        "segments": entries,
        "only_in_segmentation": sorted(one.label for code, one in ours.items() if code not in theirs),
        "only_in_reference": sorted(one.label for code, one in theirs.items() if code not in ours),
    }


def _code(segment: Segment) -> tuple[str, ...]:
    modifier = (segment.modifier.value,) if segment.modifier else ()
    return (segment.kind.value, segment.kind.scheme_designator, *modifier)


def _on_one_grid(mask: Volume, truth: Volume) -> tuple[Any, Any, tuple[float, ...]]:
    """Both masks on a box around both, when they share a lattice; else the first on the grid of the second."""
    spacing = tuple(float(size) for size in truth.spacing)
    index = np.linalg.inv(truth.affine) @ mask.affine
    offset = index[:3, 3]
    if np.allclose(index[:3, :3], np.eye(3), atol=1e-3) and np.allclose(offset, np.round(offset), atol=0.1):
        shift = np.round(offset).astype(int)
        low = np.minimum(0, shift)
        high = np.maximum(np.array(truth.array.shape), shift + np.array(mask.array.shape))
        boxes = [np.zeros(high - low, bool) for _ in range(2)]
        for box, one, start in ((boxes[0], mask, shift - low), (boxes[1], truth, -low)):
            box[tuple(slice(begin, begin + size) for begin, size in zip(start, one.array.shape, strict=True))] = (
                one.array > 0
            )
        return boxes[0], boxes[1], spacing
    points = np.stack(np.meshgrid(*map(np.arange, truth.array.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    nearest = np.round(points @ np.linalg.inv(index)[:3, :3].T + np.linalg.inv(index)[:3, 3]).astype(int)
    inside = ((nearest >= 0) & (nearest < np.array(mask.array.shape))).all(axis=1)
    found = np.zeros(len(points), bool)
    found[inside] = mask.array[tuple(nearest[inside].T)] > 0
    return found.reshape(truth.array.shape), truth.array > 0, spacing
