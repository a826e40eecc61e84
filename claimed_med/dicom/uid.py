"""Identifiers and bytes that are the same whenever the content is the same.

Nothing here reads a clock or a random generator. A derived object's UIDs are digests: of the run for
the series, of the canonical content for the instance, so different pixels never share a UID.
"""

from __future__ import annotations

import hashlib
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, ExplicitVRLittleEndian

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence
    from pathlib import Path

# Roots under which highdicom and pydicom draw random UIDs.
RANDOM_ROOTS = ("1.2.826.0.1.3680043.10.511.3.", "1.2.826.0.1.3680043.8.498.")
TRACKING_UID = "112040"  # DCM, Tracking Unique Identifier
CLOCKS = ("InstanceCreationDate", "InstanceCreationTime", "ContributionDateTime")


def uid_from(*parts: str) -> str:
    """Return the UID `2.25.<integer>` of the first 128 bits of the sha256 of `parts`.

    Args:
        parts: Any texts; their order and their borders matter.

    Returns:
        uid: At most 44 characters.
    """
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


IMPLEMENTATION_UID = uid_from("claimed_med", "implementation")


def stamp(datasets: Sequence[Dataset], *, seed: str) -> dict[str, str]:
    """Give derived objects the identifiers that follow from `seed` and their content, in place.

    SeriesInstanceUID is a digest of `seed` (of `seed` and a number where `datasets` hold several series),
    SOPInstanceUID a digest of the series UID and of the canonical content with the object's own UIDs blanked.
    DimensionOrganizationUID, and tracking UIDs drawn at random by highdicom or pydicom, follow from the latter.
    References from one of `datasets` to an earlier one are kept right. Clock attributes are removed.

    Args:
        datasets: Derived objects in reading order (a report after the segmentation that it refers to).
        seed: Identity of the run, unit and port.

    Returns:
        renamed: Old UID -> new UID, for objects elsewhere that refer to `datasets`.
    """
    renamed: dict[str, str] = {}
    series = list(dict.fromkeys(str(dataset.SeriesInstanceUID) for dataset in datasets))
    for number, old in enumerate(series):
        renamed[old] = uid_from(seed) if len(series) == 1 else uid_from(seed, str(number))
    for dataset in datasets:
        _stamp_one(dataset, renamed)
    return renamed


def _stamp_one(dataset: Dataset, renamed: dict[str, str]) -> None:
    """Replace the UIDs of one object; `renamed` grows by its own."""
    _stop_clocks(dataset)
    old_instance = str(dataset.SOPInstanceUID)
    # New elements: data sets made from one template may share theirs.
    dataset.add_new("SeriesInstanceUID", "UI", renamed[str(dataset.SeriesInstanceUID)])
    dataset.add_new("SOPInstanceUID", "UI", old_instance)
    elements = [element for element in _walk(dataset) if element.VR == "UI"]
    own = list(dict.fromkeys(_own_uids(dataset, renamed)))
    _replace(elements, renamed | {old_instance: ""} | {uid: f"0.{n}" for n, uid in enumerate(own)})
    dataset.SOPInstanceUID = ""
    digest = hashlib.sha256(_canonical(dataset)).hexdigest()
    new_instance = uid_from(str(dataset.SeriesInstanceUID), digest)
    final = {f"0.{n}": uid_from(new_instance, str(n)) for n in range(len(own))}
    _replace(elements, final | {"": new_instance})
    renamed[old_instance] = new_instance
    renamed.update({uid: final[f"0.{n}"] for n, uid in enumerate(own)})
    set_file_meta(dataset)


def _own_uids(dataset: Dataset, known: Container[str]) -> Iterator[str]:
    """Find the UIDs that this object made itself, besides series and instance.

    Only elements that hold such UIDs count: a reference to a source may well have a random UID too.
    """
    if "DimensionOrganizationUID" in dataset:
        yield str(dataset.DimensionOrganizationUID)
    concept = dataset.get("ConceptNameCodeSequence") or [Dataset()]
    tracked = dataset.get("UID") if concept[0].get("CodeValue") == TRACKING_UID else dataset.get("TrackingUID")
    if tracked and str(tracked).startswith(RANDOM_ROOTS) and str(tracked) not in known:
        yield str(tracked)
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _own_uids(item, known)


def _replace(elements: Sequence[Any], new: Mapping[str, str]) -> None:
    for element in elements:
        values = _values(element)
        if not values and element.keyword != "SOPInstanceUID":
            continue
        if any(value in new for value in values or [""]):
            replaced = [new.get(value, value) for value in values or [""]]
            element.value = replaced[0] if len(replaced) == 1 else replaced


def _values(element: Any) -> list[str]:
    value = element.value
    if value is None:
        return []
    if isinstance(value, str):
        return [str(value)]
    return [str(item) for item in value]


def _walk(dataset: Dataset) -> Iterator[Any]:
    """Yield every element but pixel data, depth first, in tag order."""
    for tag in sorted(dataset.keys()):
        element = dataset[tag]
        if element.VR == "SQ":
            for item in element.value:
                yield from _walk(item)
        else:
            yield element


def _stop_clocks(dataset: Dataset) -> None:
    for keyword in CLOCKS:
        if keyword in dataset:
            del dataset[keyword]
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                _stop_clocks(item)


def _canonical(dataset: Dataset) -> memoryview:
    """Encode the dataset (no file meta) as Explicit VR Little Endian."""
    stream = DicomBytesIO()
    stream.is_little_endian = True
    stream.is_implicit_VR = False
    write_dataset(stream, dataset)
    return stream.parent.getbuffer()


def set_file_meta(dataset: Dataset) -> None:
    """Write the file meta information of an object of ours, the same on every machine."""
    meta = getattr(dataset, "file_meta", None) or FileMetaDataset()
    syntax = meta.get("TransferSyntaxUID", ExplicitVRLittleEndian)
    fresh = FileMetaDataset()
    fresh.FileMetaInformationVersion = b"\x00\x01"
    fresh.MediaStorageSOPClassUID = UID(dataset.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID", ""))
    fresh.MediaStorageSOPInstanceUID = UID(dataset.SOPInstanceUID)
    fresh.TransferSyntaxUID = UID(syntax)
    fresh.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    fresh.ImplementationVersionName = "CLAIMED_MED"
    dataset.file_meta = fresh


def to_bytes(dataset: Dataset) -> bytes:
    """Return the DICOM file of `dataset`, preamble and file meta information included."""
    set_file_meta(dataset)
    stream = BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def write(dataset: Dataset, path: Path) -> Path:
    """Write `dataset` as a DICOM file; the same dataset gives the same bytes."""
    set_file_meta(dataset)
    dcmwrite(path, dataset, enforce_file_format=True)
    return path
