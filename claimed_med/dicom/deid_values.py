"""New values for old: dummies, cleaned text, moved dates, renamed UIDs, all as encoded bytes."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING

from pydicom.charset import convert_encodings, decode_bytes, encode_string
from pydicom.valuerep import TEXT_VR_DELIMS

from claimed_med.dicom import deid_text
from claimed_med.dicom.deid_document import empty_like
from claimed_med.dicom.elements import Encoding, encoded, sequence_of
from claimed_med.dicom.header import quiet
from claimed_med.dicom.pseudonyms import shifted

if TYPE_CHECKING:
    from claimed_med.dicom.deid_identifiers import Identifiers
    from claimed_med.dicom.deid_profile import Profile
    from claimed_med.dicom.pseudonyms import Keys

TEXT = frozenset("AE AS CS LO LT PN SH ST UC UT UR".split())
_PROSE = frozenset({"LT", "ST", "UT"})
_DUMMIES = {
    "AE": "ANON",
    "AS": "000Y",
    "CS": "ANON",
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "DS": "0",
    "IS": "0",
    "PN": "ANONYMOUS",
    "SH": "ANON",
    "UR": "urn:anonymous",
}
_NUMBERS = {"FL": "f", "FD": "d", "SL": "i", "SS": "h", "UL": "I", "US": "H", "SV": "q", "UV": "Q", "AT": "I"}
# Values that an attribute of this name may have, where a plain dummy would not be one of them.
_FITTING = {
    "CodingSchemeDesignator": "99ANON",
    "PatientSex": "O",
    "VerificationFlag": "UNVERIFIED",
    "PatientBirthDate": "19000101",
    "PersonName": "ANONYMOUS",
}
_METHODS = {
    "retain_longitudinal_full_dates": ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    "retain_longitudinal_modified_dates": ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    "retain_patient_characteristics": ("113108", "Retain Patient Characteristics Option"),
    "retain_device_identity": ("113109", "Retain Device Identity Option"),
    "retain_uids": ("113110", "Retain UIDs Option"),
    "retain_safe_private": ("113111", "Retain Safe Private Option"),
    "retain_institution_identity": ("113112", "Retain Institution Identity Option"),
    "clean_graphics": ("113103", "Clean Graphics Option"),
    "clean_structured_content": ("113104", "Clean Structured Content Option"),
    "clean_descriptors": ("113105", "Clean Descriptors Option"),
}
CLEAN_PIXELS = ("113101", "Clean Pixel Data Option")
_ESCAPE = b"\x1b"
METHOD, METHOD_TAG = "claimed_med PS3.15 profile ", 0x00120063
_METHOD_SEQUENCE = 0x00120064


def renamed(raw: bytes, keys: Keys) -> bytes:
    """UIDs (one or several) replaced."""
    return "\\".join(keys.uid(one.strip(" \0")) for one in raw.decode("latin-1").split("\\")).encode()


def dummy(vr: str, keyword: str, raw: bytes, encoding: Encoding) -> bytes:
    """A value that says nothing, but is valid for the VR; of bulk data one of the same kind or length as `raw`."""
    if keyword in _FITTING:
        return _FITTING[keyword].encode()
    if keyword == "EncapsulatedDocument":
        return empty_like(raw)
    if vr in _NUMBERS:
        return struct.pack((">" if encoding.big else "<") + _NUMBERS[vr], 0)
    if vr in {"OB", "OW", "OF", "OD", "OL", "OV", "UN"}:
        return bytes(len(raw))
    return _DUMMIES.get(vr, "ANONYMIZED").encode()


def cleaned(
    raw: bytes,
    vr: str,
    charset: str,
    profile: Profile,
    identifiers: Identifiers,
    shift_days: int,
    *,
    keyword: str = "",
) -> bytes:
    """A value of similar meaning that does not identify; b'' when nothing is left.

    Args:
        raw: The encoded value.
        vr: Value representation.
        charset: SpecificCharacterSet of the data set.
        profile: For ages, free text and dates.
        identifiers: Of the patient.
        shift_days: By how much dates move back.
        keyword: Of the attribute.
    """
    if vr in {"DA", "DT"}:
        moves = profile.has("retain_longitudinal_modified_dates")
        return shifted(raw.decode("latin-1"), shift_days).encode() if moves else b""
    if vr == "AS":
        return _age(raw, profile.oldest_age_years)
    if vr not in TEXT or vr == "PN":
        return b"" if vr in {"OB", "OW", "UN", "PN"} else raw
    text, encodings = decoded(raw, charset)
    free = vr in _PROSE and profile.free_text == "vocabulary" and keyword != "TextString"
    parts = [text] if vr in _PROSE else text.split("\\")
    kept = [deid_text.clean(one, identifiers, "prose" if free else "descriptor") for one in parts]
    if kept == parts:
        return raw
    with quiet():
        return encode_string("\\".join(kept) if any(kept) else "", encodings)


def decoded(raw: bytes, charset: str) -> tuple[str, list[str]]:
    """Text from bytes, and the Python names of its character sets; what cannot be decoded is replaced."""
    encodings = list(_encodings(charset))
    if raw.isascii() and _ESCAPE not in raw:
        return raw.rstrip(b" \0").decode("ascii"), encodings
    with quiet():
        try:
            text = decode_bytes(raw.rstrip(b" \0"), encodings, TEXT_VR_DELIMS)
        except (UnicodeDecodeError, LookupError):
            text = raw.decode("ascii", "replace")
    return text, encodings


@lru_cache(maxsize=64)
def _encodings(charset: str) -> tuple[str, ...]:
    """Python's names of the character sets that SpecificCharacterSet names."""
    with quiet():
        return tuple(convert_encodings(charset.split("\\") if "\\" in charset else charset or "ISO_IR 6"))


def _age(raw: bytes, oldest_years: int) -> bytes:
    text = raw.decode("latin-1").strip(" \0")
    if text[:3].isdigit() and text[3:] == "Y" and int(text[:3]) > oldest_years:
        return f"{oldest_years + 1:03d}Y".encode()
    return raw


def statements(profile: Profile, encoding: Encoding, *, pixels: bool = False) -> dict[int, bytes]:
    """What a de-identified object says of itself.

    Args:
        profile: Its options are named by their codes (DICOM CID 7050).
        encoding: Of the object.
        pixels: Whether burned-in text was looked for and taken out.
    """
    codes = [("113100", "Basic Application Confidentiality Profile")]
    codes += [CLEAN_PIXELS] if pixels else []
    codes += [_METHODS[one] for one in profile.options]
    contents = [
        b"".join(
            encoded(tag, vr, text.encode(), encoding)
            for tag, vr, text in ((0x00080100, "SH", code), (0x00080102, "SH", "DCM"), (0x00080104, "LO", meaning))
        )
        for code, meaning in sorted(codes)
    ]
    dates = {"C": "MODIFIED", "K": "UNMODIFIED"}.get(profile.dates, "REMOVED")
    return {
        0x00120062: encoded(0x00120062, "CS", b"YES", encoding),
        METHOD_TAG: encoded(METHOD_TAG, "LO", f"{METHOD}{profile.name}".encode(), encoding),
        _METHOD_SEQUENCE: sequence_of(_METHOD_SEQUENCE, contents, encoding),
        0x00280303: encoded(0x00280303, "CS", dates.encode(), encoding),
    }
