"""The slices of a source series: where they lie, and how a derived object refers to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydicom import Dataset

from claimed_med.dicom.source import UNREADABLE, sop_class_uid, valid_uid, whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from claimed_med.dicom.series import Series


@dataclass(frozen=True)
class Plane:
    """One source slice.

    Attributes:
        sop_class_uid: Class of the instance; where the file has none, the one of its modality.
        sop_uid: SOPInstanceUID of the instance.
        frame: Frame number (from 1) of a multi-frame instance, else None.
        series_uid: SeriesInstanceUID of the instance.
        position: ImagePositionPatient, LPS [mm], or None without geometry.
        orientation: ImageOrientationPatient (six cosines), or None without geometry.
    """

    sop_class_uid: str
    sop_uid: str
    frame: int | None
    series_uid: str
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None


def source_planes(series: Series) -> tuple[Plane, ...]:
    """List the source slices, in the order of the headers and of the frames that belong to the volume."""
    found: list[Plane] = []
    for number, header in enumerate(series.headers):
        uid = valid_uid(header.get("SOPInstanceUID"), "instance", series.key, str(number))
        series_uid = valid_uid(header.get("SeriesInstanceUID"), "series", series.key)
        count = whole(header, "NumberOfFrames")
        if "PerFrameFunctionalGroupsSequence" not in header and count == 1:
            position, orientation = _floats(header, "ImagePositionPatient"), _floats(header, "ImageOrientationPatient")
            found.append(Plane(sop_class_uid(header), uid, None, series_uid, position, orientation))
            continue
        frames = (series.frames or {}).get(str(header.get("SOPInstanceUID")))
        for frame in frames or range(1, count + 1):
            position, orientation = frame_geometry(header, frame)
            found.append(Plane(sop_class_uid(header), uid, frame, series_uid, position, orientation))
    return tuple(found)


def frame_geometry(header: Dataset, frame: int) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Return position and orientation of one frame (from 1) of a multi-frame header."""
    groups = [*header.get("PerFrameFunctionalGroupsSequence", [])[frame - 1 : frame]]
    groups += [*header.get("SharedFunctionalGroupsSequence", [])[:1]]
    position = orientation = None
    for group in groups:
        if position is None and group.get("PlanePositionSequence"):
            position = _floats(group.PlanePositionSequence[0], "ImagePositionPatient")
        if orientation is None and group.get("PlaneOrientationSequence"):
            orientation = _floats(group.PlaneOrientationSequence[0], "ImageOrientationPatient")
    return position, orientation


def _floats(dataset: Dataset, keyword: str) -> tuple[float, ...] | None:
    try:
        values = dataset.get(keyword)
        return tuple(float(value) for value in values) if values else None
    except UNREADABLE:
        return None


def reference(plane: Plane, *, frames: Sequence[int] = ()) -> Dataset:
    """Return a Referenced SOP Instance item for a source instance, with frame numbers where given."""
    item = Dataset()
    item.ReferencedSOPClassUID = plane.sop_class_uid
    item.ReferencedSOPInstanceUID = plane.sop_uid
    if frames:
        item.ReferencedFrameNumber = list(frames) if len(frames) > 1 else frames[0]
    return item


def instances(planes: Sequence[Plane]) -> dict[str, list[Plane]]:
    """Group source slices by instance, in order."""
    grouped: dict[str, list[Plane]] = {}
    for plane in planes:
        grouped.setdefault(plane.sop_uid, []).append(plane)
    return grouped


def add_references(dataset: Dataset, planes: Sequence[Plane]) -> None:
    """Set SourceImageSequence and ReferencedSeriesSequence of a derived object, one item an instance."""
    sources: list[Dataset] = []
    by_series: dict[str, list[Dataset]] = {}
    for slices in instances(planes).values():
        frames = [plane.frame for plane in slices if plane.frame is not None]
        sources.append(reference(slices[0], frames=frames))
        by_series.setdefault(slices[0].series_uid, []).append(reference(slices[0]))
    dataset.SourceImageSequence = sources
    listed = []
    for uid, items in by_series.items():
        item = Dataset()
        item.SeriesInstanceUID = uid
        item.ReferencedInstanceSequence = items
        listed.append(item)
    dataset.ReferencedSeriesSequence = listed


def match_planes(
    planes: Sequence[Plane],
    positions: npt.NDArray[np.float64],
    normal: npt.NDArray[np.float64],
    tolerance_mm: float,
) -> list[Plane | None]:
    """For each parallel plane, find the source slice that lies in it.

    Args:
        planes: Source slices; those without geometry, or with another normal, never match.
        positions: Shape (n, 3): one point of each plane, LPS [mm].
        normal: Unit normal of all n planes.
        tolerance_mm: Largest distance between a plane and its source slice [mm].

    Returns:
        matches: One source slice or None for each plane.
    """
    parallel = [plane for plane in planes if _is_parallel(plane, normal)]
    if not parallel:
        return [None] * len(positions)
    heights = np.array([np.dot(plane.position or (), normal) for plane in parallel])
    order = np.argsort(heights, kind="stable")
    wanted = positions @ normal
    above = np.searchsorted(heights[order], wanted).clip(0, len(order) - 1)
    below = (above - 1).clip(0)
    matches: list[Plane | None] = []
    for height, *candidates in zip(wanted, above, below, strict=True):
        best = min((order[c] for c in candidates), key=lambda i: abs(heights[i] - height))
        matches.append(parallel[best] if abs(heights[best] - height) <= tolerance_mm else None)
    return matches


def _is_parallel(plane: Plane, normal: npt.NDArray[np.float64]) -> bool:
    if plane.position is None or plane.orientation is None or len(plane.orientation) != 6:
        return False
    own = np.cross(plane.orientation[:3], plane.orientation[3:])
    return bool(abs(np.dot(own, normal)) > 1 - 1e-5)
