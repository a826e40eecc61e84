"""Write and read DICOM Segmentation objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import highdicom as hd
import numpy as np
from pydicom.sr.codedict import codes

from claimed_med.dicom import codes as tables
from claimed_med.dicom import slices
from claimed_med.dicom import source as origin
from claimed_med.dicom.equipment import algorithm, common_arguments, contribution, maker
from claimed_med.dicom.masks import Segment, decode, merge
from claimed_med.dicom.planes import Planes
from claimed_med.dicom.uid import stamp, uid_from
from claimed_med.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from claimed_med.dicom.series import Series

__all__ = ["Kind", "Segment", "decode", "encode", "merge"]

Kind = Literal["BINARY", "FRACTIONAL", "LABELMAP"]
SERIES_NUMBER = 9000


def encode(
    labels: hd.Volume,
    *,
    source: Series,
    segments: str | Path | tables.SegmentTable | Sequence[tables.SegmentDefinition],
    kind: Kind = "BINARY",
) -> hd.seg.Segmentation:
    """Encode labels as a Segmentation that refers to every source instance.

    Frames without a voxel are left out; a segment that was not found is listed all the same, and when none
    was found each segment keeps one empty frame. The same call gives the same bytes.

    Args:
        labels: Shape (slice, row, column): segment numbers (unsigned integers or bool), or for FRACTIONAL
            probabilities in [0, 1] of the only segment; or (slice, row, column, segment) with one mask or
            probability map for each segment. Affine index -> LPS [mm], in the source's frame of reference,
            on the grid of the source or on any other.
        source: The series that was segmented.
        segments: Name of a table in `claimed_med/dicom/segments`, a TOML file, or the table itself.
        kind: SegmentationType.

    Returns:
        segmentation: A valid, complete object.

    Raises:
        ContractError: Labels of the wrong type or shape, or a value that the table does not list.
    """
    table = tables.segment_table(segments)
    array = _checked(np.asarray(labels.array), table, kind)
    planes = Planes.on(np.asarray(labels.affine, dtype=np.float64), array.shape[:3], source)
    made_by = maker()
    seed = ("seg", made_by.name, made_by.version, source.key, table.title)
    date, time = origin.content_clock(source)
    found = bool(array.any())
    if not found:
        array, planes = array[:1], planes.first(1)
    header = origin.clean_header(source)
    with origin.anonymous(header) as made:
        segmentation = hd.seg.Segmentation(
            source_images=[planes.stand_in(header)],
            pixel_array=array,
            segmentation_type=kind,
            segment_descriptions=[_description(row, table, seed) for row in table.segments],
            series_instance_uid=uid_from(*seed),
            series_number=SERIES_NUMBER,
            sop_instance_uid=uid_from(*seed, "instance"),
            instance_number=1,
            omit_empty_frames=found,
            content_label="SEGMENTATION",
            content_description=f"{table.title} segmentation",
            series_description=f"{table.title} segmentation",
            pixel_measures=planes.measures(),
            plane_orientation=planes.orientation_sequence(),
            plane_positions=planes.position_sequences(),
            contributing_equipment=[contribution(made_by)],
            content_date=date,
            content_time=time,
            **common_arguments(made_by),
        )
        made.append(segmentation)
    slices.add_references(segmentation, slices.source_planes(source))
    planes.add_derivation(segmentation, codes.DCM.Segmentation)
    stamp([segmentation], seed="\n".join(seed))
    return segmentation


def _checked(array: npt.NDArray[Any], table: tables.SegmentTable, kind: Kind) -> npt.NDArray[Any]:
    """Return the labels in a type that highdicom encodes without converting, or raise."""
    n_segments = len(table.segments)
    if array.ndim not in {3, 4} or (array.ndim == 4 and array.shape[3] != n_segments):
        allowed = f"(slice, row, column) or (slice, row, column, {n_segments})"
        raise ContractError("seg.encode", "labels have the wrong shape", got=array.shape, allowed=allowed)
    if array.dtype.kind == "f":
        if kind != "FRACTIONAL" or (array.ndim == 3 and n_segments > 1):
            allowed = "unsigned integers; probabilities only for FRACTIONAL, one map for each segment"
            raise ContractError("seg.encode", "labels have the wrong type", got=array.dtype, allowed=allowed)
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise ContractError("seg.encode", "probabilities lie outside", allowed="[0, 1]")
        return array.astype(np.float32, copy=False)
    if array.dtype.kind not in "iub":
        raise ContractError("seg.encode", "labels have the wrong type", got=array.dtype, allowed="integers")
    largest = 1 if array.ndim == 4 else n_segments
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    if low < 0 or high > largest:
        raise ContractError("seg.encode", "label outside the segment table", got=[low, high], allowed=f"0-{largest}")
    if array.dtype.kind == "b":
        return array.view(np.uint8)
    return array.astype(np.uint8 if largest <= 255 else np.uint16, copy=False)


def _description(
    row: tables.SegmentDefinition, table: tables.SegmentTable, seed: Sequence[str]
) -> hd.seg.SegmentDescription:
    description = hd.seg.SegmentDescription(
        segment_number=row.number,
        segment_label=row.label,
        segmented_property_category=row.category,
        segmented_property_type=row.kind,
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm(maker(), table.family),
        tracking_uid=uid_from(*seed, "segment", str(row.number)),
        tracking_id=f"{row.label} {row.number}",
        anatomic_regions=[row.region] if row.region else None,
        display_color=hd.color.CIELabColor.from_rgb(*row.color) if row.color else None,
    )
    if row.modifier:
        kind = description.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [hd.sr.CodedConcept.from_code(row.modifier)]
    return description
