"""What a DICOM object itself says of where it comes from; it travels with the object."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from claimed_med.payload import LINEAGE, digest_files, files_below, payload_digest, sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_EQUIPMENT = "ContributingEquipmentSequence"
_MOST_NAMES = 1000  # files of a folder that are looked up


@dataclass(frozen=True)
class Written:
    """The derivation in one object.

    Attributes:
        sop_uid: Its SOPInstanceUID.
        series_uid: Its SeriesInstanceUID.
        modality: Modality.
        made_by: `name version` of every Contributing Equipment, nearest first.
        algorithms: `name version` of every algorithm that it names.
        sources: SOPInstanceUIDs that it refers to.
    """

    sop_uid: str
    series_uid: str
    modality: str
    made_by: tuple[str, ...]
    algorithms: tuple[str, ...]
    sources: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)


def read(path: Path) -> Written | None:
    """The derivation that is written into a DICOM file; None when it is no DICOM file.

    Args:
        path: The file; nothing of it that could name a patient is returned.
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        dataset = dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, OSError, EOFError, ValueError):
        return None
    equipment = [_named(one, "ManufacturerModelName", "SoftwareVersions") for one in _items(dataset, _EQUIPMENT)]
    sources = sorted(set(_references(dataset)) - {str(dataset.get("SOPInstanceUID", ""))})
    return Written(
        str(dataset.get("SOPInstanceUID", "")),
        str(dataset.get("SeriesInstanceUID", "")),
        str(dataset.get("Modality", "")),
        tuple(one for one in equipment if one),
        tuple(sorted({one for one in _algorithms(dataset) if one})),
        tuple(sources),
    )


def names_of(place: Path) -> list[str]:
    """By what an object can be found in the index, best first: content digest, then UIDs.

    A PACS may write the header anew; the SOPInstanceUID stays.

    Args:
        place: A DICOM file, any other file, or the folder of a bundle, report or series.
    """
    from claimed_med.dicom.origin import origin_of

    if place.is_file():
        found = origin_of(place)
        return [sha256_of(place), *([found.sop_uid] if found is not None and found.sop_uid else [])]
    files = {name: path for name, path in files_below(place).items() if name != LINEAGE}
    digests = digest_files(dict(files))
    names = [payload_digest(digests)]
    for name, digest in list(digests.items())[:_MOST_NAMES]:
        found = origin_of(files[name]) if name.endswith(".dcm") else None
        names += [digest, *([found.sop_uid] if found is not None and found.sop_uid else [])]
    return list(dict.fromkeys(names))


def _items(dataset: Any, keyword: str) -> list[Any]:
    return list(dataset.get(keyword) or [])


def _named(item: Any, name: str, version: str) -> str:
    told = item.get(version, "")
    number = "\\".join(map(str, told)) if isinstance(told, list | tuple) else str(told or "")
    return f"{item.get(name, '')} {number}".strip()


def _algorithms(dataset: Any) -> Iterator[str]:
    for element in dataset:
        if element.VR != "SQ":
            continue
        for item in element.value:
            if "AlgorithmName" in item:
                yield _named(item, "AlgorithmName", "AlgorithmVersion")
            if element.keyword != "PerFrameFunctionalGroupsSequence":
                yield from _algorithms(item)


def _references(dataset: Any) -> Iterator[str]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _references(item)
        elif element.keyword == "ReferencedSOPInstanceUID" and element.value:
            yield str(element.value)
