"""Read one file's header, once, and note where its pixel data lie."""

from __future__ import annotations

import hashlib
import logging
import struct
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import IO, TYPE_CHECKING, Any

from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from claimed_med.dicom.finding import Finding
from claimed_med.payload import sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pydicom.dataset import FileDataset

PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
UNDEFINED = 0xFFFFFFFF
UNREADABLE = (ValueError, TypeError, OverflowError, IndexError, KeyError, AttributeError, NotImplementedError)
LARGEST_MM = 1e9
_TEXT = frozenset({"DS", "IS", "CS", "UI", "LO", "SH", "DA", "TM", "AS"})
NATIVE = frozenset({ImplicitVRLittleEndian, ExplicitVRLittleEndian})
_DICOMDIR = "1.2.840.10008.1.3.10"
_LONG_HEADER, _SHORT_HEADER = 12, 8


@dataclass(eq=False)
class Instance:
    """One DICOM object: its header and where its pixels are.

    Attributes:
        path: The file, or None for an object in memory.
        dataset: The header; with pixels only for an object in memory.
        syntax: Transfer syntax UID.
        pixel_tag: Tag of the pixel data element, 0 when there is none.
        pixel_offset: Position of its value in the file [bytes].
        pixel_length: Its declared length [bytes], `UNDEFINED` when encapsulated.
        file_size: Size of the file [bytes].
    """

    path: Path | None
    dataset: Dataset
    syntax: UID
    pixel_tag: int = 0
    pixel_offset: int = 0
    pixel_length: int = 0
    file_size: int = 0

    @property
    def sop_uid(self) -> str:
        """SOPInstanceUID, '' when absent."""
        return text(self.dataset, "SOPInstanceUID")

    @property
    def n_frames(self) -> int:
        """NumberOfFrames, 1 when absent."""
        return whole(self.dataset, "NumberOfFrames", 1) or 1


class NotReadable(Exception):  # noqa: N818 - a finding on its way to the report
    """A file that gives no header; carries the finding."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.text)
        self.finding = finding


def open_instance(path: Path) -> Instance:
    """Read the header of one file.

    Raises:
        NotReadable: The file is no DICOM object with a header that makes sense.
    """
    try:
        with path.open("rb") as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read(path, stream)
    except NotReadable:
        raise
    except OSError:
        text = "the file cannot be opened; check its permissions"
        raise NotReadable(Finding("Unreadable", text)) from None
    except Exception as error:  # noqa: BLE001 - damaged files fail in every way; each becomes a finding
        text = f"the file looks like DICOM but cannot be read ({type(error).__name__}); it is damaged"
        raise NotReadable(Finding("Unreadable", text)) from None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep other libraries silent: their warnings quote header values, and those may name the patient."""
    logger = logging.getLogger("pydicom")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def drop_copies(instances: Iterable[Instance]) -> tuple[list[Instance], list[Path]]:
    """Keep one of several files of the same instance; which one depends on content only.

    Copies have the same SOPInstanceUID, patient, series, place and encoded pixels. Files that share a UID but differ
    in these are all kept: their volume is then refused for what it is.

    Returns:
        The instances that stay, and the paths of the dropped copies.
    """
    groups: dict[str, list[Instance]] = {}
    for instance in instances:
        groups.setdefault(instance.sop_uid or f"no uid {id(instance)}", []).append(instance)
    kept: list[Instance] = []
    dropped: list[Path] = []
    for group in groups.values():
        if len(group) == 1:
            kept += group
            continue
        distinct: dict[tuple[str, ...], Instance] = {}
        for instance in sorted(group, key=lambda one: sha256_of(one.path) if one.path else ""):
            told = (
                text(instance.dataset, keyword)
                for keyword in ("ImagePositionPatient", "SeriesInstanceUID", "PatientID")
            )
            same = (*told, _pixel_digest(instance))
            if same in distinct and instance.path is not None:
                dropped.append(instance.path)
            else:
                distinct[same] = instance
        kept += distinct.values()
    return kept, dropped


def _pixel_digest(instance: Instance) -> str:
    if instance.path is None or instance.pixel_offset <= 0:
        return str(id(instance))
    length = None if instance.pixel_length == UNDEFINED else instance.pixel_length
    with instance.path.open("rb") as stream:
        stream.seek(instance.pixel_offset)
        return hashlib.sha256(stream.read(length)).hexdigest()


def instance_of(dataset: Dataset) -> Instance:
    """Wrap an object in memory."""
    meta = getattr(dataset, "file_meta", None) or {}
    tag = next((tag for tag in PIXEL_TAGS if tag in dataset), 0)
    return Instance(None, dataset, UID(meta.get("TransferSyntaxUID", ExplicitVRLittleEndian)), tag)


def number(dataset: Dataset, keyword: str, default: float | None = None) -> float | None:
    """A header value as a float (the first of several), or `default` when it is absent or no number."""
    try:
        value = _value(dataset, keyword)
        if isinstance(value, str):
            value = value.split("\\", 1)[0]
        elif _several(value):
            value = value[0]
        return default if value is None or value == "" else float(value)
    except UNREADABLE:
        return default


def whole(dataset: Dataset, keyword: str, default: int = 0) -> int:
    """A header value as an integer, or `default` when it is absent or no number."""
    value = number(dataset, keyword)
    return default if value is None else int(value)


def numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """A header value as `count` finite floats, or None."""
    try:
        value = _value(dataset, keyword)
        values = tuple(float(one) for one in (value.split("\\") if isinstance(value, str) else value or ()))
    except UNREADABLE:
        return None
    return values if len(values) == count and all(abs(one) < LARGEST_MM for one in values) else None


def text(dataset: Dataset, keyword: str) -> str:
    """A header value as text (several joined by backslashes), '' when it is absent or cannot be decoded."""
    try:
        value = _value(dataset, keyword)
    except UNREADABLE:
        return ""
    if value is None:
        return ""
    return "\\".join(map(str, value)) if _several(value) else str(value)


def _value(dataset: Dataset, keyword: str) -> Any:
    """A header value: text and 16-bit numbers straight from the file's bytes, all else as pydicom converts it.

    Converting thousands of elements costs more time than reading their files.
    """
    tag, vr = _known(keyword)
    if tag is None:
        return dataset.get(keyword)
    try:
        element = dataset.get_item(tag)
    except KeyError:
        return None
    raw = element.value if isinstance(element, RawDataElement) else None
    if not isinstance(raw, bytes):
        return dataset.get(keyword)
    if vr in _TEXT:
        return raw.decode("latin-1").strip(" \0")
    if vr == "US" and len(raw) == 2:
        return int.from_bytes(raw, "little" if element.is_little_endian else "big")
    return dataset.get(keyword)


@cache
def _known(keyword: str) -> tuple[BaseTag | None, str]:
    number = tag_for_keyword(keyword)
    return (None, "") if number is None else (Tag(number), dictionary_VR(number))


def _several(value: object) -> bool:
    return hasattr(value, "__iter__") and not isinstance(value, str | bytes)


def _read(path: Path, stream: IO[bytes]) -> Instance:
    size = path.stat().st_size
    head = stream.read(132)
    if size < 132 or head[128:] != b"DICM":
        _check_plausible(head, size)
    stream.seek(0)
    dataset = dcmread(stream, stop_before_pixels=True, force=True)
    if str(dataset.file_meta.get("MediaStorageSOPClassUID", "")) == _DICOMDIR or "DirectoryRecordSequence" in dataset:
        raise NotReadable(Finding("DicomDirectory", "a DICOMDIR lists files; the files themselves are read"))
    if len(dataset) < 3:
        raise NotReadable(Finding("NotDicom", "the file holds no DICOM data set"))
    made = Instance(path, dataset, _syntax(dataset), file_size=size)
    _locate_pixels(made, stream)
    return made


def _check_plausible(head: bytes, size: int) -> None:
    """Refuse a file without preamble unless it starts with an element of group 0002 or 0008."""
    if size == 0:
        raise NotReadable(Finding("NotDicom", "the file is empty"))
    groups = {head[0:2], head[1:2] + head[0:1]}
    if len(head) < 8 or not groups & {b"\x08\x00", b"\x02\x00"}:
        raise NotReadable(Finding("NotDicom", "the file is no DICOM file"))


def _syntax(dataset: FileDataset) -> UID:
    given = dataset.file_meta.get("TransferSyntaxUID")
    if given:
        return UID(given)
    implicit, little = dataset.original_encoding
    if implicit or implicit is None:
        return UID(ImplicitVRLittleEndian)
    return UID(ExplicitVRLittleEndian if little else "1.2.840.10008.1.2.2")


def _locate_pixels(made: Instance, stream: IO[bytes]) -> None:
    """Note tag, place and length of the pixel data element at which reading stopped."""
    if made.syntax == "1.2.840.10008.1.2.1.99":  # deflated: positions in the file mean nothing
        made.pixel_tag = 0x7FE00010 if "Rows" in made.dataset else 0
        made.pixel_offset = -1
        return
    head = stream.read(_LONG_HEADER)
    if len(head) < _SHORT_HEADER:
        return
    order = ">" if made.syntax == "1.2.840.10008.1.2.2" else "<"
    group, element = struct.unpack(order + "HH", head[:4])
    tag = group << 16 | element
    if tag not in PIXEL_TAGS:
        return
    explicit = head[4:6] in {b"OW", b"OB", b"OF", b"OD", b"UN"}
    width = _LONG_HEADER if explicit else _SHORT_HEADER
    made.pixel_tag = tag
    made.pixel_offset = stream.tell() - len(head) + width
    made.pixel_length = struct.unpack(order + "I", head[width - 4 : width])[0]
