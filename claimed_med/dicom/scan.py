"""What a folder holds: volumes, other objects, and files that hold nothing. Headers are read once, pixels never."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import Dataset

from claimed_med.dicom.finding import Finding
from claimed_med.dicom.header import Instance, NotReadable, drop_copies, open_instance, quiet, text
from claimed_med.dicom.series import Series, is_image, volumes_of
from claimed_med.payload import files_below, sha256_of

COPY = Finding("RepeatedInstance", "another copy of an image that is there already: same identifier, place and pixels")


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
        if is_image(instance):
            images.append(instance)
        else:
            others.append(_other(path, instance.dataset))
    images, copies = drop_copies(images)
    skipped += [Skipped(path, COPY) for path in copies]
    found = volumes_of(images)
    _tell_apart(found)
    volumes = [entry_of(series) for series in found]
    return Scan(tuple(sorted(volumes, key=lambda one: one.key)), tuple(others), tuple(skipped))


def _paths(source: Path | str | Sequence[Path]) -> list[Path]:
    if not isinstance(source, str | os.PathLike):
        return [Path(one) for one in source]
    path = Path(source)
    if path.is_file():
        return [path]
    return [
        found for name, found in files_below(path).items() if name not in {"lineage.json", "units.json", "volume.json"}
    ]


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
