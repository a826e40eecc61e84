"""Values that the profile lets stay: held against their own VR, against the patient, and against what is certain.

A value that cannot be one of its attribute (prose in a decimal string, text in an unknown VR) says something that no
rule foresaw, and goes.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from pydicom.charset import encode_string

from claimed_med.dicom import deid_text
from claimed_med.dicom.deid_identifiers import folded
from claimed_med.dicom.deid_values import decoded
from claimed_med.dicom.elements import vr_of, vrs_of
from claimed_med.dicom.header import quiet

if TYPE_CHECKING:
    from claimed_med.dicom.deid_identifiers import Identifiers

PROSE = frozenset("LO SH ST LT UT UC UR".split())
_NAMED = frozenset("PN AE CS".split())
_STRICT = {
    "DS": rb"(?:[\d+\-eE. \\]|\b(?:NaN|nan|NAN|inf|INF|Inf)\b)*",
    "IS": rb"[\d+\- \\]*",
    "DA": rb"[\d.\- \\]*",
    "TM": rb"[\d.:\- \\]*",
    "DT": rb"[\d.+\- \\]*",
    "UI": rb"[\d. \\\0]*",
    "AS": rb"(?:\d{1,3}[DWMY]|[ \\])*",
}
_VALID = {vr: re.compile(pattern + rb"[ \0]*") for vr, pattern in _STRICT.items()}
_TEXT = PROSE | _NAMED | _STRICT.keys()
_BINARY = frozenset("OB OW OF OD OL OV US SS UL SL UV SV FL FD AT".split())
_SHORTEST_IN_CODE = 4
_CHARSET = 0x00080005


@cache
def kind_of(tag: int, written: str) -> str:
    """The VR by which the value of a standard attribute is to be read; '' when it cannot be one of this attribute.

    Args:
        tag: Of the attribute.
        written: The VR in the file; UN is read as the dictionary says.
    """
    known, allowed = vr_of(tag), vrs_of(tag)
    if written in allowed:
        return written
    if written == "UN":
        return known
    if written in _TEXT and known in _TEXT:
        return known if known in _STRICT else written
    return written if written in _BINARY and known in _BINARY else ""


def is_valid(raw: bytes, vr: str) -> bool:
    """Whether bytes can be a value of a VR of numbers, dates, UIDs or ages; every value of another VR can."""
    return vr not in _VALID or _VALID[vr].fullmatch(raw) is not None


class Leaves:
    """The values that stay, of the objects of one patient; each different value is looked at once.

    Args:
        identifiers: Of the patient.
    """

    def __init__(self, identifiers: Identifiers) -> None:
        self.identifiers = identifiers
        self._known: dict[tuple[bytes, str, str], bytes | None] = {}

    def stays(self, raw: bytes, tag: int, vr: str, charset: str) -> bytes | None:
        """The value as it may stay: the very bytes where nothing is wrong with them; None when it must go.

        Args:
            raw: The encoded value.
            tag: Of the attribute.
            vr: How to read it.
            charset: SpecificCharacterSet.
        """
        if vr in _BINARY or tag == _CHARSET:
            return raw
        key = raw, vr, charset if vr in PROSE or vr in _NAMED else ""
        if key not in self._known:
            self._known[key] = self._looked_at(raw, vr, charset)
        return self._known[key]

    def _looked_at(self, raw: bytes, vr: str, charset: str) -> bytes | None:
        if vr in _VALID:
            return raw if is_valid(raw, vr) else None
        text, encodings = decoded(raw, charset)
        if vr in _NAMED:
            return None if vr != "PN" and (self._names(text) or not text.isascii()) else raw
        if vr not in PROSE:
            return None
        new = deid_text.clean(text, self.identifiers, "kept")
        if new == text:
            return raw
        with quiet():
            return encode_string(new, encodings)

    def _names(self, code: str) -> bool:
        pattern = self.identifiers.certain
        found = pattern.finditer(folded(code)) if pattern else ()
        return any(len(match.group()) >= _SHORTEST_IN_CODE for match in found)

    def is_safe_private(self, raw: bytes, vr: str, charset: str) -> bool:
        """Whether a private value that is said to be safe may stay: numbers, codes, and text without any pattern."""
        if vr in {"SQ", "PN", "UI", "UR"} or not is_valid(raw, vr) or self.identifiers.left_in(raw):
            return False
        printable = vr == "UN" and all(one in b"\r\n\t" or 32 <= one < 127 for one in raw.rstrip(b"\0"))
        if vr not in PROSE and vr not in _NAMED and not printable:
            return True
        text, _ = decoded(raw, charset)
        return deid_text.clean(text, self.identifiers, "descriptor") == text
