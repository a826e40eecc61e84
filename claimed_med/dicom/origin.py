"""Series and patient of a DICOM file, straight from its first bytes: what a lineage record says where data enter."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from claimed_med.dicom.elements import BIG, DEFLATED, IMPLICIT, Encoding, elements, open_bytes
from claimed_med.errors import InputError
from claimed_med.secret import pseudonym

if TYPE_CHECKING:
    from pathlib import Path

_SOP, _PATIENT_ID, _STUDY, _SERIES = 0x00080018, 0x00100020, 0x0020000D, 0x0020000E
_SYNTAX, _DATA = 0x00020010, 0x00030000
_WANTED = frozenset({_SOP, _PATIENT_ID, _STUDY, _SERIES})
_SHORT = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_HEAD = struct.Struct("<HH2sH").unpack_from
_OTHERS = frozenset({"", IMPLICIT, BIG, DEFLATED})
_HEADS = (1 << 13, 1 << 17)  # enough for nearly every file, and for those with long private blocks in front


@dataclass(frozen=True)
class Origin:
    """Where an object belongs.

    Attributes:
        sop_uid: SOPInstanceUID, or ''.
        series_uid: SeriesInstanceUID, or ''.
        patient: Key of the patient, derived with the secret, as cohort tables have it; '' where there is none.
    """

    sop_uid: str
    series_uid: str
    patient: str


def origin_of(path: Path, known: dict[str, str] | None = None) -> Origin | None:
    """Series and patient of a file; None when it is no DICOM file, or too damaged to tell.

    Args:
        path: Of the file; no more than its header is read.
        known: Identifier -> key of patients that were met before; grows. Held in memory only.
    """
    told = identifiers_of(path)
    if told is None:
        return None
    keys = {} if known is None else known
    patient = told.get(_PATIENT_ID) or told.get(_STUDY, "")
    if patient and patient not in keys:
        keys[patient] = pseudonym("patient", patient)
    return Origin(told.get(_SOP, ""), told.get(_SERIES, ""), keys.get(patient, ""))


def identifiers_of(path: Path) -> dict[int, str] | None:
    """Tag -> text of the identifying attributes of a file, for use in memory only; None when it cannot be read."""
    with path.open("rb") as stream:
        head = b""
        for size in (*_HEADS, -1):
            head += stream.read(size - len(head) if size > 0 else -1)
            try:
                return _read(head)
            except (InputError, StopIteration):
                continue
    return None


def _read(head: bytes) -> dict[int, str]:
    if (quick := _plain(head)) is not None:
        return quick
    stored = open_bytes(head)
    told: dict[int, str] = {}
    for one in elements(stored.data, stored.start, len(stored.data), stored.encoding, before_pixels=True):
        if one.tag > _SERIES:
            break
        if one.tag in _WANTED:
            told[one.tag] = _text(stored.data, one.value, one.end)
    return told


def _plain(head: bytes) -> dict[int, str] | None:
    """The usual file, at a fifth of the cost: explicit little endian; None for any other."""
    if head[128:132] != b"DICM":
        return None
    told: dict[int, str] = {}
    place, syntax = 132, ""
    while place + 12 <= len(head):
        group, number, vr, length = _HEAD(head, place)
        tag = group << 16 | number
        if tag >= _DATA and syntax in _OTHERS:
            return None
        if tag > _SERIES:
            return told
        start, place = (place + 8, place + 8 + length) if vr in _SHORT else _long(head, place)
        if place > len(head):
            return None
        if tag == _SYNTAX:
            syntax = _text(head, start, place)
        elif tag in _WANTED:
            told[tag] = _text(head, start, place)
    return None


def _long(head: bytes, place: int) -> tuple[int, int]:
    """Start and end of the value of an element whose length is not written in two bytes."""
    one = next(elements(head, place, len(head), Encoding()))
    return one.value, one.end


def _text(data: bytes, start: int, end: int) -> str:
    """As scans and cohort tables read it, in Latin-1: the key of a patient must be the same in all of them."""
    return data[start:end].decode("latin-1").strip(" \0")
