"""Read DICOM: what a folder holds, and each volume with its exact place. Geometry is never guessed."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom import Dataset

from claimed_med.dicom import repair as repairing
from claimed_med.dicom.finding import Finding
from claimed_med.dicom.geometry import Geometry, judge
from claimed_med.dicom.grouping import Frame, frames_of, group_frames
from claimed_med.dicom.header import Instance, NotReadable, drop_copies, instance_of, open_instance, quiet, text, whole
from claimed_med.dicom.pixels import read_stored, real_values, truncated
from claimed_med.errors import ContractError, InputError
from claimed_med.payload import files_below, sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import highdicom as hd
    import numpy as np

__all__ = [
    "Finding",
    "OtherObject",
    "Scan",
    "Series",
    "Skipped",
    "VolumeEntry",
    "entry_of",
    "read_series",
    "require_modality",
    "scan",
]

# Objects with pixels that are derived from others and are no images of a patient by themselves.
NO_IMAGE = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
        "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation
        "1.2.840.10008.5.1.4.1.1.30",  # Parametric Map
        "1.2.840.10008.5.1.4.1.1.481.2",  # RT Dose
    }
)
_COPY = Finding("RepeatedInstance", "another copy of an image that is there already: same identifier, place and pixels")
_FATAL_BUT = {"drop_duplicates": {"DuplicatePosition"}, "resample_uneven": {"UnevenSpacing"}, "untilt": {"GantryTilt"}}


@dataclass(frozen=True)
class Skipped:
    """A file that holds nothing to read."""

    path: Path
    finding: Finding


@dataclass(frozen=True)
class OtherObject:
    """A valid object that is no image volume: segmentation, report, structure set, presentation state ..."""

    path: Path
    sop_class_uid: str
    sop_uid: str
    study_uid: str
    series_uid: str
    patient_key_source: str
    references: frozenset[str]


@dataclass(frozen=True)
class VolumeEntry:
    """One volume that a folder holds.

    Attributes:
        key: Unit key: first 16 hex of the sha256 of its sorted SOPInstanceUIDs (and frame numbers).
        files: Its files, in slice order.
        sop_uids: SOPInstanceUID of each file.
        frames: SOPInstanceUID -> frame numbers from 1, when only some frames of an object belong to it.
        findings: What was noticed without reading pixels.
        modality: Modality.
        study_uid: StudyInstanceUID.
        series_uid: SeriesInstanceUID.
        patient_key_source: PatientID, for grouping in memory only.
        series: The volume itself, headers read.
    """

    key: str
    files: tuple[Path, ...]
    sop_uids: tuple[str, ...]
    frames: Mapping[str, tuple[int, ...]] | None
    findings: tuple[Finding, ...]
    modality: str
    study_uid: str
    series_uid: str
    patient_key_source: str
    series: Series = field(repr=False, compare=False)


@dataclass(frozen=True)
class Scan:
    """Everything in a folder: every file is in exactly one of the three (a DICOM file may hold several volumes)."""

    volumes: tuple[VolumeEntry, ...]
    others: tuple[OtherObject, ...]
    skipped: tuple[Skipped, ...]


@dataclass(eq=False)
class Series:
    """One volume: sorted headers, and pixels on demand.

    Attributes:
        slices: Sorted along the normal.
        geometry: Affine and findings.
        repairs: What opt-in repairs did, for the lineage.
    """

    slices: list[Frame]
    geometry: Geometry
    frames: Mapping[str, tuple[int, ...]] | None = None
    repairs: list[str] = field(default_factory=list)
    wanted: tuple[str, ...] = ()
    extra: tuple[Finding, ...] = ()
    unit_key: str = ""

    @cached_property
    def instances(self) -> tuple[Instance, ...]:
        """The objects, each once, in slice order."""
        return tuple({id(frame.instance): frame.instance for frame in self.slices}.values())

    @property
    def headers(self) -> tuple[Dataset, ...]:
        """The headers without pixel data, sorted along the normal; one a multi-frame object."""
        return tuple(instance.dataset for instance in self.instances)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files, sorted along the normal."""
        return tuple(instance.path for instance in self.instances if instance.path is not None)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was noticed; a fatal one refuses `volume()`."""
        return (*self.extra, *self.geometry.findings)

    @property
    def modality(self) -> str:
        """Modality."""
        return text(self.headers[0], "Modality")

    @property
    def key(self) -> str:
        """The unit key."""
        return self.unit_key or _key([instance.sop_uid for instance in self.instances], self.frames)

    @property
    def affine(self) -> np.ndarray | None:
        """Index (slice, row, column) -> LPS [mm], sheared when the gantry was tilted; None when unknown."""
        return self.geometry.affine

    @cached_property
    def _volume(self) -> hd.Volume:
        return self._read()

    def volume(self) -> hd.Volume:
        """Read the pixels.

        Returns:
            Axes slice, row, column; affine index -> LPS [mm]; real units (HU for CT): int16 when every value is
            a whole number that fits, else float32. The array is shared between calls: copy it before changing it.

        Raises:
            InputError: A finding refuses the volume, or pixel data are damaged; findings are attached.
        """
        with quiet():
            return self._volume

    def _read(self) -> hd.Volume:
        repaired = {name for wanted in self.wanted for name in _FATAL_BUT[wanted]}
        fatal = [finding for finding in self.findings if finding.fatal and finding.name not in repaired]
        if fatal or self.affine is None:
            raise InputError(
                "series",
                "this is no volume: " + "; ".join(finding.text for finding in fatal),
                do=_advice(fatal),
                findings=self.findings,
            )
        header = self.headers[0]
        array = real_values(read_stored(self.slices), self.slices, lookup="ModalityLUTSequence" in header)
        affine = self.affine
        names = {finding.name for finding in self.findings}
        if "UnevenSpacing" in names:
            array, affine, done = repairing.resample_even(array, self.geometry, affine)
            self.repairs += done
        if "GantryTilt" in names:
            array, affine, done = repairing.untilt(array, affine)
            self.repairs += done
        return repairing.as_volume(array, affine, text(header, "FrameOfReferenceUID"))


def scan(source: Path | str | Sequence[Path]) -> Scan:
    """List what a folder (any tree), a file, or a list of files holds; reads headers only.

    Args:
        source: Where to look.

    Returns:
        Volumes (refused ones too, with their findings), other objects, and files that hold nothing.

    Raises:
        InputError: The place does not exist.
    """
    with quiet():
        return _scan(_paths(source))


def _scan(paths: Sequence[Path]) -> Scan:
    skipped: list[Skipped] = []
    others: list[OtherObject] = []
    images: list[Instance] = []
    for path in paths:
        try:
            instance = open_instance(path)
        except NotReadable as damage:
            skipped.append(Skipped(path, damage.finding))
            continue
        if _is_image(instance):
            images.append(instance)
        else:
            others.append(_other(path, instance.dataset))
    images, copies = drop_copies(images)
    skipped += [Skipped(path, _COPY) for path in copies]
    found = _volumes(images)
    _tell_apart(found)
    volumes = [entry_of(series) for series in found]
    return Scan(tuple(sorted(volumes, key=lambda one: one.key)), tuple(others), tuple(skipped))


def read_series(
    source: Sequence[Path] | Sequence[Dataset],
    frames: Mapping[str, tuple[int, ...]] | None = None,
    repair: Sequence[str] = (),
) -> Series:
    """Read the headers of one volume and sort them.

    Args:
        source: Its files, or its objects in memory.
        frames: SOPInstanceUID -> frame numbers from 1, when only some frames of an object belong to it.
        repair: Opt-in repairs: `drop_duplicates`, `resample_uneven`, `untilt`.

    Raises:
        InputError: A file cannot be read, or the files hold no image or several volumes.
        ContractError: An unknown repair.
    """
    unknown = sorted(set(repair) - set(repairing.REPAIRS))
    if unknown:
        raise ContractError(
            "read_series", "unknown repair", got=", ".join(unknown), allowed=", ".join(repairing.REPAIRS)
        )
    with quiet():
        found = _volumes(_open(source), frames)
    if len(found) != 1:
        told = "; ".join(f"{one.modality} {len(one.slices)} slices" for one in found[:10])
        raise InputError(
            "series", "the files must hold one volume", got=f"{len(found)} ({told})" if told else "no image"
        )
    series = found[0]
    series.wanted = tuple(repair)
    if "drop_duplicates" in repair:
        series.slices, series.geometry, done = repairing.drop_duplicates(series.slices, series.geometry)
        series.repairs += done
        series.wanted = tuple(name for name in repair if name != "drop_duplicates")
    return series


def require_modality(where: str, series: Series, *modalities: str, min_slices: int = 1) -> None:
    """Refuse a series of another modality, or with too few slices, before any pixel is read.

    Raises:
        InputError: It is not what the algorithm was made for.
    """
    if series.modality not in modalities:
        raise InputError(
            where,
            "the modality does not fit",
            got=series.modality or "none",
            allowed=" or ".join(modalities),
            do="choose another series",
        )
    if len(series.slices) < min_slices:
        raise InputError(
            where,
            "the series has too few slices",
            got=len(series.slices),
            allowed=f"at least {min_slices}",
            do="choose another series",
        )


def require_body_part(where: str, series: Series, *names: str) -> None:
    """Refuse a series whose header names another body part; one that names none is let through.

    Raises:
        InputError: BodyPartExamined is given and is none of `names`.
    """
    given = text(series.headers[0], "BodyPartExamined").upper()
    if given and not any(name in given for name in names):
        raise InputError(
            where, "the body part does not fit", got=given, allowed=" or ".join(names), do="choose another series"
        )


def _open(source: Iterable[Any]) -> list[Instance]:
    instances = []
    for one in source:
        if isinstance(one, Dataset):
            instances.append(instance_of(one))
            continue
        try:
            instances.append(open_instance(Path(one)))
        except NotReadable as damage:
            raise InputError("series", damage.finding.text, findings=[damage.finding]) from None
    return [instance for instance in instances if _is_image(instance)]


def _paths(source: Path | str | Sequence[Path]) -> list[Path]:
    if not isinstance(source, str | os.PathLike):
        return [Path(one) for one in source]
    path = Path(source)
    if path.is_file():
        return [path]
    return [
        found for name, found in files_below(path).items() if name not in {"lineage.json", "units.json", "volume.json"}
    ]


def _is_image(instance: Instance) -> bool:
    header = instance.dataset
    if text(header, "SOPClassUID") in NO_IMAGE:
        return False
    return whole(header, "Rows") > 0 and whole(header, "Columns") > 0


def _other(path: Path, header: Dataset) -> OtherObject:
    return OtherObject(
        path,
        text(header, "SOPClassUID"),
        text(header, "SOPInstanceUID"),
        text(header, "StudyInstanceUID"),
        text(header, "SeriesInstanceUID"),
        text(header, "PatientID"),
        frozenset(_references(header)),
    )


def _references(dataset: Dataset) -> set[str]:
    found: set[str] = set()
    try:
        for element in dataset:
            if element.keyword == "ReferencedSOPInstanceUID":
                found.add(str(element.value))
            elif element.VR == "SQ":
                for item in element.value:
                    found |= _references(item)
    except Exception:  # noqa: BLE001 - a damaged object refers to what could be read
        return found
    return found


def _volumes(images: Iterable[Instance], frames: Mapping[str, tuple[int, ...]] | None = None) -> list[Series]:
    chosen = [
        frame
        for instance in images
        for frame in frames_of(instance)
        if frames is None or instance.sop_uid not in frames or frame.index + 1 in frames[instance.sop_uid]
    ]
    groups = group_frames(chosen)
    siblings: dict[str, int] = {}
    for group in groups:
        siblings[_sibling_key(group)] = siblings.get(_sibling_key(group), 0) + 1
    return [_series(group, siblings[_sibling_key(group)]) for group in groups]


def _sibling_key(group: list[Frame]) -> str:
    header = group[0].instance.dataset
    place = group[0].position or ()
    same = (text(header, "SeriesInstanceUID"), whole(header, "Rows"), len(group), tuple(round(v, 2) for v in place))
    return repr(same)


def _series(group: list[Frame], n_siblings: int) -> Series:
    extra: list[Finding] = []
    header = group[0].instance.dataset
    samples = whole(header, "SamplesPerPixel", 1)
    if samples != 1:
        told = f"a colour image ({samples} values a pixel) is a picture, not part of a volume"
        extra.append(Finding("ColourImage", told, {"samples": samples}, fatal=True))
    if not text(header, "SOPClassUID"):
        extra.append(
            Finding("BlankSOPClass", f"SOPClassUID is blank; read as {text(header, 'Modality') or 'an image'}")
        )
    broken = {id(frame.instance) for frame in group if truncated(frame.instance)}
    if broken:
        told = f"{len(broken)} file{'s end' if len(broken) > 1 else ' ends'} before the pixel data do"
        extra.append(Finding("Truncated", told, {"n_files": len(broken)}, fatal=True))
    if n_siblings > 1:
        told = f"one of {n_siblings} volumes of its series at the same place (phases, echoes or weights)"
        extra.append(Finding("FourDimensional", told, {"n_volumes": n_siblings}))
    return Series(group, judge(group), _partial_frames(group), extra=tuple(extra))


def _partial_frames(group: list[Frame]) -> dict[str, tuple[int, ...]] | None:
    taken: dict[int, list[int]] = {}
    instances = {id(frame.instance): frame.instance for frame in group}
    for frame in group:
        taken.setdefault(id(frame.instance), []).append(frame.index + 1)
    partial = {
        instances[which].sop_uid: tuple(sorted(numbers))
        for which, numbers in taken.items()
        if len(numbers) < instances[which].n_frames
    }
    return partial or None


def _tell_apart(found: Sequence[Series]) -> None:
    """Give volumes that claim the same identifiers, but differ, keys that depend on their content too."""
    counts = Counter(series.key for series in found)
    for series in found:
        if counts[series.key] > 1:
            digests = sorted(sha256_of(path) for path in series.files)
            series.unit_key = hashlib.sha256("\n".join([series.key, *digests]).encode()).hexdigest()[:16]


def entry_of(series: Series) -> VolumeEntry:
    """What a scan lists of a volume."""
    header = series.headers[0]
    uids = tuple(instance.sop_uid for instance in series.instances)
    return VolumeEntry(
        series.key,
        series.files,
        uids,
        series.frames,
        series.findings,
        series.modality,
        text(header, "StudyInstanceUID"),
        text(header, "SeriesInstanceUID"),
        text(header, "PatientID"),
        series,
    )


def _key(uids: Sequence[str], frames: Mapping[str, tuple[int, ...]] | None) -> str:
    parts = [f"{uid}#{','.join(map(str, frames[uid]))}" if frames and uid in frames else uid for uid in uids]
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:16]


def _advice(fatal: Sequence[Finding]) -> str:
    names = {finding.name for finding in fatal}
    fitting = [repair for repair, mended in _FATAL_BUT.items() if names & mended]
    if fitting:
        return f"check the series, or ask for the repair {' and '.join(fitting)}"
    if names & {"MissingSlice", "Truncated"}:
        return "fetch the series again from its archive"
    return "choose another series"
