"""Series and patient of a DICOM file, straight from its first bytes: what a lineage record says where data enter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from claimed_med.dicom.elements import elements, open_bytes
from claimed_med.errors import InputError
from claimed_med.secret import pseudonym

if TYPE_CHECKING:
    from pathlib import Path

_SOP, _PATIENT_ID, _STUDY, _SERIES = 0x00080018, 0x00100020, 0x0020000D, 0x0020000E
_WANTED = frozenset({_SOP, _PATIENT_ID, _STUDY, _SERIES})
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


def origin_of(path: Path) -> Origin | None:
    """Series and patient of a file; None when it is no DICOM file, or too damaged to tell.

    Args:
        path: Of the file; no more than its header is read.
    """
    told = identifiers_of(path)
    if told is None:
        return None
    key = told.get(_PATIENT_ID) or told.get(_STUDY, "")
    return Origin(told.get(_SOP, ""), told.get(_SERIES, ""), pseudonym("patient", key) if key else "")


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
    stored = open_bytes(head)
    told: dict[int, str] = {}
    for one in elements(stored.data, stored.start, len(stored.data), stored.encoding, before_pixels=True):
        if one.tag > _SERIES:
            break
        if one.tag in _WANTED:
            # Latin-1, as scans and cohort tables read it: the key must be the same in all of them
            told[one.tag] = stored.data[one.value : one.end].decode("latin-1").strip(" \0")
    return told
