"""Group images into volumes: by series, frame of reference, size, orientation; then apart by phase, echo, weight."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from claimed_med.dicom.header import Instance, number, numbers, text, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

SAME_PLACE_MM = 0.01
SAME_ORIENTATION = 1e-3
Vector = tuple[float, ...]


@dataclass(eq=False, slots=True)
class Frame:
    """One slice: a single-frame object, or one frame of a multi-frame object.

    Attributes:
        instance: The object that holds it.
        index: Frame index in the object, from 0.
        position: ImagePositionPatient [mm, LPS], or None.
        orientation: ImageOrientationPatient, or None.
        spacing: PixelSpacing (between rows, between columns) [mm], or None.
        thickness: SpacingBetweenSlices or SliceThickness [mm], 0 when absent.
        slope: RescaleSlope.
        intercept: RescaleIntercept.
        groups: Functional groups of the frame, own before shared; the header itself when there are none.
    """

    instance: Instance
    index: int
    position: Vector | None
    orientation: Vector | None
    spacing: Vector | None
    thickness: float
    slope: float
    intercept: float
    groups: tuple[Any, ...]


def frames_of(instance: Instance) -> list[Frame]:
    """List the slices of one object."""
    header = instance.dataset
    per_frame = header.get("PerFrameFunctionalGroupsSequence")
    if not per_frame:
        return [_frame(instance, index, (header,)) for index in range(instance.n_frames)]
    shared = tuple((header.get("SharedFunctionalGroupsSequence") or [])[:1])
    return [_frame(instance, index, (group, *shared)) for index, group in enumerate(per_frame)]


def _frame(instance: Instance, index: int, groups: tuple[Any, ...]) -> Frame:
    classic = groups[0] is instance.dataset
    place, plane, measures, values = (
        (instance.dataset,) * 4
        if classic
        else (
            _item(groups, "PlanePositionSequence"),
            _item(groups, "PlaneOrientationSequence"),
            _item(groups, "PixelMeasuresSequence"),
            _item(groups, "PixelValueTransformationSequence"),
        )
    )
    positioned = not (classic and instance.n_frames > 1)
    return Frame(
        instance,
        index,
        numbers(place, "ImagePositionPatient", 3) if place is not None and positioned else None,
        numbers(plane, "ImageOrientationPatient", 6) if plane is not None else None,
        numbers(measures, "PixelSpacing", 2) if measures is not None else None,
        _thickness(measures),
        (number(values, "RescaleSlope", 1.0) or 1.0) if values is not None else 1.0,
        (number(values, "RescaleIntercept", 0.0) or 0.0) if values is not None else 0.0,
        groups,
    )


def _item(groups: Iterable[Any], keyword: str) -> Any:
    for group in groups:
        sequence = group.get(keyword)
        if sequence:
            return sequence[0]
    return None


def _thickness(measures: Any) -> float:
    if measures is None:
        return 0.0
    return abs(number(measures, "SpacingBetweenSlices") or number(measures, "SliceThickness") or 0.0)


def normal_of(orientation: Sequence[float]) -> np.ndarray:
    """The unit vector row direction x column direction."""
    cross = np.cross(orientation[:3], orientation[3:])
    return np.asarray(cross / (np.linalg.norm(cross) or 1.0))


def group_frames(frames: Iterable[Frame]) -> list[list[Frame]]:
    """Group slices into volumes; each list is sorted along its normal."""
    coarse: dict[tuple[Any, ...], list[Frame]] = {}
    for frame in frames:
        coarse.setdefault(_series_key(frame), []).append(frame)
    groups = [group for members in coarse.values() for group in _by_orientation(members)]
    return [sort_along_normal(volume) for group in groups for volume in split_phases(group)]


def _series_key(frame: Frame) -> tuple[Any, ...]:
    header = frame.instance.dataset
    placed = frame.position is not None and frame.orientation is not None
    spacing = tuple(round(value, 3) for value in frame.spacing) if frame.spacing else ()
    localizer = is_localizer(frame)
    return (
        text(header, "PatientID"),  # one series of two patients is never one volume
        text(header, "StudyInstanceUID"),
        text(header, "SeriesInstanceUID"),
        text(header, "FrameOfReferenceUID"),
        whole(header, "Rows"),
        whole(header, "Columns"),
        whole(header, "SamplesPerPixel", 1),
        spacing,
        localizer,
        "" if placed else frame.instance.sop_uid or str(id(frame.instance)),
    )


def is_localizer(frame: Frame) -> bool:
    """Whether ImageType says that the image is a localizer."""
    return "LOCALIZER" in text(frame.instance.dataset, "ImageType").upper().split("\\")


def _by_orientation(frames: list[Frame]) -> list[list[Frame]]:
    clusters: list[tuple[np.ndarray, list[Frame]]] = []
    for frame in frames:
        if frame.orientation is None:
            return [frames]
        vector = np.asarray(frame.orientation)
        for centre, members in clusters:
            if np.abs(vector - centre).max() < SAME_ORIENTATION:
                members.append(frame)
                break
        else:
            clusters.append((vector, [frame]))
    return [members for _, members in clusters]


def distances(frames: Sequence[Frame]) -> np.ndarray:
    """Distance of every slice along the common normal [mm]."""
    if any(frame.position is None or frame.orientation is None for frame in frames):
        return np.arange(len(frames), dtype=float)
    return np.asarray([frame.position for frame in frames]) @ normal_of(frames[0].orientation or ())


def sort_along_normal(frames: list[Frame]) -> list[Frame]:
    """Sort along the normal; InstanceNumber only breaks ties, so that the order never depends on file names."""
    places = distances(frames)
    if any(frame.position is None for frame in frames):
        return sorted(frames, key=lambda one: one.index)
    order = sorted(
        range(len(frames)),
        key=lambda i: (
            round(float(places[i]), 4),
            whole(frames[i].instance.dataset, "InstanceNumber"),
            frames[i].instance.sop_uid,
        ),
    )
    return [frames[i] for i in order]


def split_phases(frames: list[Frame]) -> list[list[Frame]]:
    """Take apart what lies at the same place several times: phases, echoes, diffusion weights, acquisitions."""
    slots = _slots(frames)
    if max(Counter(slots).values()) == 1:
        return [frames]
    for discriminator, strong in _DISCRIMINATORS:
        parts: dict[Any, list[tuple[Frame, int]]] = {}
        for frame, slot in zip(frames, slots, strict=True):
            parts.setdefault(discriminator(frame), []).append((frame, slot))
        if len(parts) > 1 and _separates(list(parts.values()), strong=strong):
            return [volume for part in parts.values() for volume in split_phases([frame for frame, _ in part])]
    return _deal(frames, slots)


def _slots(frames: list[Frame]) -> list[int]:
    """Number of the place of every slice; slices closer than `SAME_PLACE_MM` share one."""
    if any(frame.position is None for frame in frames):
        return list(range(len(frames)))
    places = np.round(np.asarray([frame.position for frame in frames]) / SAME_PLACE_MM / 2).astype(np.int64)
    _, inverse = np.unique(places, axis=0, return_inverse=True)
    return [int(value) for value in inverse.ravel()]


def _separates(parts: list[list[tuple[Frame, int]]], *, strong: bool) -> bool:
    """Whether the parts are volumes of their own: a re-taken slice alone is none, it is a duplicate."""
    sizes = [len({slot for _, slot in part}) for part in parts]
    worst_before = max(Counter(slot for part in parts for _, slot in part).values())
    worst_after = max(max(Counter(slot for _, slot in part).values()) for part in parts)
    if worst_after >= worst_before:
        return False
    return min(sizes) > 1 if strong else min(sizes) == max(sizes)


def _deal(frames: list[Frame], slots: list[int]) -> list[list[Frame]]:
    """Without any discriminator: the k-th image of every place belongs to the k-th volume, if all have as many."""
    counts = set(Counter(slots).values())
    if len(counts) != 1 or len(set(slots)) == 1 or _identical_headers(frames):
        return [frames]
    order = sorted(
        range(len(frames)), key=lambda i: (whole(frames[i].instance.dataset, "InstanceNumber"), frames[i].index)
    )
    seen: Counter[int] = Counter()
    volumes: list[list[Frame]] = [[] for _ in range(counts.pop())]
    for i in order:
        volumes[seen[slots[i]]].append(frames[i])
        seen[slots[i]] += 1
    return volumes


def _identical_headers(frames: list[Frame]) -> bool:
    uids = [(frame.instance.sop_uid, frame.index) for frame in frames]
    return len(set(uids)) < len(uids)


def _group_value(sequence: str, keyword: str) -> Callable[[Frame], str]:
    def value(frame: Frame) -> str:
        found = _item(frame.groups, sequence) if sequence else None
        return text(found, keyword) if found is not None else ""

    return value


def _header_value(keyword: str) -> Callable[[Frame], str]:
    return lambda frame: text(frame.instance.dataset, keyword)


_DISCRIMINATORS: tuple[tuple[Callable[[Frame], str], bool], ...] = (
    (_group_value("FrameContentSequence", "StackID"), True),
    (_header_value("TemporalPositionIdentifier"), True),
    (_group_value("FrameContentSequence", "TemporalPositionIndex"), True),
    (_header_value("EchoNumbers"), True),
    (_header_value("EchoTime"), True),
    (_group_value("MREchoSequence", "EffectiveEchoTime"), True),
    (_header_value("DiffusionBValue"), True),
    (_group_value("MRDiffusionSequence", "DiffusionBValue"), True),
    (_header_value("DiffusionGradientOrientation"), True),
    (_group_value("MRImageFrameTypeSequence", "FrameType"), True),
    (_header_value("ImageType"), False),
    (_header_value("AcquisitionNumber"), False),
    (_group_value("FrameContentSequence", "FrameAcquisitionNumber"), False),
    (_header_value("TriggerTime"), False),
    (_group_value("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"), False),
    (_header_value("InversionTime"), False),
    (_group_value("FrameContentSequence", "DimensionIndexValues"), False),
)
