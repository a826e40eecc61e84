"""Read any Segmentation, ours or another's, as one mask for each segment."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import highdicom as hd
import numpy as np
from pydicom import Dataset
from pydicom.pixels.utils import pixel_array
from pydicom.sr.coding import Code
from scipy import ndimage

from claimed_med.dicom import slices
from claimed_med.dicom import source as origin
from claimed_med.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from claimed_med.dicom.series import Series

HALF = 0.5
# Larger shifts against the source's voxels than this are resampled (nearest neighbour), [voxel].
ALIGNED = 0.1
SHEAR_MM = 1e-3


@dataclass(frozen=True)
class Segment:
    """One segment, its mask read on demand.

    Attributes:
        number: Segment number.
        label: Words for people.
        category: Segmented property category.
        kind: Segmented property type.
        modifier: Modifier of the type (laterality), or None.
        tracking_uid: Tracking UID, or empty.
        algorithm: Name of the algorithm, or empty.
    """

    number: int
    label: str
    category: Code
    kind: Code
    modifier: Code | None
    tracking_uid: str
    algorithm: str
    _frames: Frames = field(repr=False, compare=False)

    @property
    def mask(self) -> hd.Volume:
        """Voxels of the segment: shape (slice, row, column), bool; a FRACTIONAL value of a half counts."""
        return self._frames.volume(self.number)


@dataclass(frozen=True)
class Grid:
    """Where masks are wanted.

    Attributes:
        shape: (slice, row, column).
        affine: Index -> LPS [mm].
        frame_of_reference: FrameOfReferenceUID.
    """

    shape: tuple[int, int, int]
    affine: npt.NDArray[np.float64]
    frame_of_reference: str


@dataclass(frozen=True)
class Frame:
    """One frame of a segmentation.

    Attributes:
        index: From 0.
        segment: Segment number; 0 in a label map.
        position: ImagePositionPatient, LPS [mm], or None.
        source: (SOPInstanceUID, frame number or 0) of the source slice, or None.
    """

    index: int
    segment: int
    position: tuple[float, ...] | None
    source: tuple[str, int] | None


class Frames:
    """The frames of one segmentation and how they lie on a grid.

    Args:
        segmentation: The object.
        source: The series whose grid is wanted, or None for the segmentation's own grid.
    """

    def __init__(self, segmentation: Dataset, source: Series | None) -> None:
        self._dataset = segmentation
        self._source = source
        self._size = (int(segmentation.Rows), int(segmentation.Columns))
        self.frames = tuple(_frames(segmentation))
        self.is_label_map = str(segmentation.get("SegmentationType")) == "LABELMAP"

    def volume(self, number: int) -> hd.Volume:
        """Return the mask of one segment on the grid."""
        mask = np.zeros(self.grid.shape, dtype=bool)
        if self._slots is not None:
            for frame, slot in zip(self.frames, self._slots, strict=True):
                if slot is not None and frame.segment in {0, number}:
                    mask[slot] |= self._pixels(frame, number)
        else:
            mask = _resampled(self._own(number), self._own_grid.affine, self.grid)
        if self._source is not None:
            placed: hd.Volume = self._source.volume().with_array(mask)
            return placed
        return hd.Volume(mask, self.grid.affine, "PATIENT", frame_of_reference_uid=self.grid.frame_of_reference)

    def _own(self, number: int) -> npt.NDArray[np.bool_]:
        mask = np.zeros(self._own_grid.shape, dtype=bool)
        for frame in self.frames:
            if frame.segment in {0, number} and frame.position is not None:
                mask[_slice_index(self._own_grid.affine, frame.position)] |= self._pixels(frame, number)
        return mask

    def _pixels(self, frame: Frame, number: int) -> npt.NDArray[np.bool_]:
        if int(self._dataset.BitsAllocated) == 1 and not self._dataset.file_meta.TransferSyntaxUID.is_compressed:
            return _unpacked(self._dataset.PixelData, frame.index, self._size)
        values = pixel_array(self._dataset, index=frame.index)
        if self.is_label_map:
            return np.asarray(values == number)
        highest = int(self._dataset.get("MaximumFractionalValue") or 1)
        return np.asarray(values >= HALF * highest)

    @cached_property
    def grid(self) -> Grid:
        """The grid of the masks."""
        if self._source is None:
            return self._own_grid
        volume = self._source.volume()
        rows = tuple(int(n) for n in volume.array.shape[:3])
        affine = np.asarray(volume.affine, dtype=np.float64)
        return Grid((rows[0], rows[1], rows[2]), affine, origin.frame_of_reference_uid(self._source))

    @cached_property
    def _own_grid(self) -> Grid:
        along, down, spacing = self._in_plane()
        normal = np.cross(along, down)
        positions = np.array([frame.position for frame in self.frames if frame.position is not None])
        heights = positions @ normal
        levels = np.unique(np.round(heights, 4))
        step = self._step(levels)
        first = positions[int(np.argmin(heights))]
        affine = np.eye(4)
        affine[:3, 0] = self._slice_vector(positions, heights, normal, step)
        affine[:3, 1], affine[:3, 2], affine[:3, 3] = down * spacing[0], along * spacing[1], first
        count = round(float(levels[-1] - levels[0]) / step) + 1 if len(levels) > 1 else 1
        return Grid((count, *self._size), affine, str(self._dataset.get("FrameOfReferenceUID", "")))

    def _step(self, levels: npt.NDArray[np.float64]) -> float:
        measures = self._group("PixelMeasuresSequence")
        if len(levels) > 1:
            return float(np.diff(levels).min())
        stated = measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 1.0
        return float(stated)

    @staticmethod
    def _slice_vector(
        positions: npt.NDArray[np.float64],
        heights: npt.NDArray[np.float64],
        normal: npt.NDArray[np.float64],
        step: float,
    ) -> npt.NDArray[np.float64]:
        low, high = int(np.argmin(heights)), int(np.argmax(heights))
        span = heights[high] - heights[low]
        if span <= 0:
            return np.asarray(normal * step)
        straight = (positions[high] - positions[low]) / span * step
        if not np.allclose(straight, normal * step, atol=SHEAR_MM):
            raise InputError("seg.decode", "segmentation is sheared (gantry tilt)", do="give its source series")
        return np.asarray(normal * step)

    def _group(self, keyword: str) -> Dataset:
        shared = self._dataset.SharedFunctionalGroupsSequence[0]
        group = shared if shared.get(keyword) else self._dataset.PerFrameFunctionalGroupsSequence[0]
        return group[keyword].value[0] if group.get(keyword) else Dataset()

    def _in_plane(
        self,
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], tuple[float, float]]:
        orientation = self._group("PlaneOrientationSequence").get("ImageOrientationPatient")
        spacing = self._group("PixelMeasuresSequence").get("PixelSpacing")
        if not orientation or not spacing or any(frame.position is None for frame in self.frames):
            raise InputError("seg.decode", "segmentation says nothing about where it lies", do="give its source series")
        cosines = np.array([float(value) for value in orientation])
        return cosines[:3], cosines[3:], (float(spacing[0]), float(spacing[1]))

    @cached_property
    def _slots(self) -> tuple[int | None, ...] | None:
        """For each frame the slice of the grid that it fills voxel by voxel, or None to resample."""
        if self._source is None:
            return tuple(
                _slice_index(self._own_grid.affine, frame.position) if frame.position is not None else None
                for frame in self.frames
            )
        if str(self._dataset.get("FrameOfReferenceUID", "")) != self.grid.frame_of_reference:
            return self._slots_by_reference()
        if not self._has_positions() or self._size != self.grid.shape[1:]:
            return None if self._has_positions() else self._slots_by_reference()
        along, down, spacing = self._in_plane()
        own = np.column_stack([down * spacing[0], along * spacing[1]])
        if not np.allclose(own, self.grid.affine[:3, 1:3], atol=1e-3 * min(spacing)):
            return None
        return self._slots_by_position()

    def _has_positions(self) -> bool:
        return all(frame.position is not None for frame in self.frames)

    def _slots_by_position(self) -> tuple[int | None, ...] | None:
        index_from_lps = np.linalg.inv(self.grid.affine)
        slots: list[int | None] = []
        for frame in self.frames:
            index = (index_from_lps @ [*(frame.position or ()), 1.0])[:3]
            slot = round(float(index[0]))
            if np.abs(index - [slot, 0, 0]).max() > ALIGNED:
                return None
            slots.append(slot if 0 <= slot < self.grid.shape[0] else None)
        return tuple(slots)

    def _slots_by_reference(self) -> tuple[int | None, ...]:
        if self._source is None:
            raise InputError("seg.decode", "no source series to place the segmentation on")
        planes = slices.source_planes(self._source)
        where = {(plane.sop_uid, plane.frame or 0): index for index, plane in enumerate(planes)}
        slots = tuple(where.get(frame.source) if frame.source else None for frame in self.frames)
        if all(slot is None for slot in slots) or self._size != self.grid.shape[1:]:
            raise InputError(
                "seg.decode",
                "the segmentation lies in another frame of reference and refers to none of the source slices",
                do="give the series that it was made from",
            )
        return slots


def decode(segmentation: Dataset, source: Series | None = None) -> tuple[Segment, ...]:
    """Read the segments of a Segmentation onto the grid of a series; masks are made on demand.

    Frames are placed by their position in the common frame of reference: voxel by voxel where the grids
    agree, else by the nearest neighbour. Frames without a position, or in another frame of reference, are
    placed by the source instance that they refer to.

    Args:
        segmentation: BINARY, FRACTIONAL or LABELMAP; segments may overlap and numbers may have gaps.
        source: The series whose grid the masks are wanted on; None for the segmentation's own.

    Returns:
        segments: In the order of the object.

    Raises:
        InputError: Not a segmentation.
    """
    if not segmentation.get("SegmentSequence") or "PerFrameFunctionalGroupsSequence" not in segmentation:
        raise InputError("seg.decode", "not a segmentation", got=str(segmentation.get("SOPClassUID", "")))
    frames = Frames(segmentation, source)
    items = [item for item in segmentation.SegmentSequence if int(item.SegmentNumber) > 0]
    return tuple(_segment(item, frames) for item in items)


def merge(segments: Sequence[Segment]) -> hd.Volume:
    """Merge segments that do not overlap into one label volume.

    Returns:
        labels: Shape (slice, row, column), uint8 or uint16: segment numbers, 0 elsewhere.

    Raises:
        InputError: No segment, or two that share a voxel.
    """
    if not segments:
        raise InputError("seg.merge", "no segment to merge")
    highest = max(segment.number for segment in segments)
    mask = segments[0].mask
    merged = np.zeros(mask.array.shape, np.uint8 if highest <= np.iinfo(np.uint8).max else np.uint16)
    for segment in segments:
        mask = segment.mask
        if merged[mask.array].any():
            raise InputError(
                "seg.merge", "segments overlap", got=segment.number, do="use the masks of the segments one by one"
            )
        merged[mask.array] = segment.number
    return mask.with_array(merged)


def _segment(item: Dataset, frames: Frames) -> Segment:
    kind = item.SegmentedPropertyTypeCodeSequence[0]
    modifiers = kind.get("SegmentedPropertyTypeModifierCodeSequence") or item.get(
        "SegmentedPropertyTypeModifierCodeSequence"
    )
    return Segment(
        number=int(item.SegmentNumber),
        label=str(item.get("SegmentLabel", "")),
        category=_code(item.SegmentedPropertyCategoryCodeSequence[0]),
        kind=_code(kind),
        modifier=_code(modifiers[0]) if modifiers else None,
        tracking_uid=str(item.get("TrackingUID", "")),
        algorithm=str(item.get("SegmentAlgorithmName", "")),
        _frames=frames,
    )


def _code(item: Dataset) -> Code:
    value = item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue") or ""
    return Code(str(value), str(item.get("CodingSchemeDesignator", "")), str(item.get("CodeMeaning", "")))


def _frames(dataset: Dataset) -> Iterator[Frame]:
    shared = dataset.SharedFunctionalGroupsSequence[0] if dataset.get("SharedFunctionalGroupsSequence") else Dataset()
    for index, own in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        identification = own.get("SegmentIdentificationSequence") or shared.get("SegmentIdentificationSequence")
        segment = int(identification[0].ReferencedSegmentNumber) if identification else 0
        plane = own.get("PlanePositionSequence") or shared.get("PlanePositionSequence")
        position = plane[0].get("ImagePositionPatient") if plane else None
        yield Frame(index, segment, tuple(float(value) for value in position) if position else None, _source(own))


def _source(group: Dataset) -> tuple[str, int] | None:
    for derivation in group.get("DerivationImageSequence") or ():
        for item in derivation.get("SourceImageSequence") or ():
            frame = item.get("ReferencedFrameNumber") or 0
            number = int(frame[0]) if not isinstance(frame, int | str) else int(frame)
            return str(item.ReferencedSOPInstanceUID), number
    return None


def _unpacked(packed: bytes, index: int, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Unpack one frame of single bits; frames follow one another without padding."""
    count = size[0] * size[1]
    start = index * count
    raw = np.frombuffer(packed, np.uint8, count=(start % 8 + count + 7) // 8, offset=start // 8)
    bits = np.unpackbits(raw, bitorder="little")[start % 8 : start % 8 + count]
    return bits.reshape(size).view(bool)


def _slice_index(affine: npt.NDArray[np.float64], position: tuple[float, ...]) -> int:
    return round(float((np.linalg.inv(affine) @ [*position, 1.0])[0]))


def _resampled(mask: npt.NDArray[np.bool_], affine: npt.NDArray[np.float64], grid: Grid) -> npt.NDArray[np.bool_]:
    """Look up, for each voxel of the grid, the nearest voxel of the mask."""
    own_from_grid = np.linalg.inv(affine) @ grid.affine
    found = ndimage.affine_transform(
        mask.view(np.uint8), own_from_grid[:3, :3], own_from_grid[:3, 3], output_shape=grid.shape, order=0, cval=0
    )
    return np.asarray(found.view(bool))
