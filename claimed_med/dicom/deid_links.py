"""The link table: which pseudonym is which patient, which new UID which old one; encrypted, for those who may know.

Pseudonyms, UIDs and date shifts follow from the project's secret, so the table can be made from the original files at
any time, without the de-identified ones. It is sealed with a key of its own: CLAIMED_MED_LINK_SECRET, or the file that
CLAIMED_MED_LINK_SECRET_FILE names; where neither is set, the project's secret is used.

Source:
    RFC 5297 (AES-SIV: the same table gives the same bytes); RFC 7914 (scrypt).
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimed_med.dicom.deid_gather import look
from claimed_med.dicom.elements import Encoding, elements, inner_encoding, items, open_bytes
from claimed_med.errors import InputError, MissingDependencyError
from claimed_med.secret import from_environment, secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from claimed_med.dicom.pseudonyms import Keys

ENVIRONMENT, FILE = "CLAIMED_MED_LINK_SECRET", "CLAIMED_MED_LINK_SECRET_FILE"
KIND = "claimed_med link table 1"
_PATIENT = {"PatientID": 0x00100020, "PatientName": 0x00100010, "PatientBirthDate": 0x00100030}
_WORK_FACTOR = 1 << 14


@dataclass
class Links:
    """What leads back.

    Attributes:
        patients: Pseudonym -> {"PatientID", "PatientName", "PatientBirthDate", "shift_days"}.
        uids: New UID -> old UID.
    """

    patients: dict[str, dict[str, Any]] = field(default_factory=dict)
    uids: dict[str, str] = field(default_factory=dict)

    def add(self, other: Links) -> None:
        """Take over all of another table."""
        self.patients |= other.patients
        self.uids |= other.uids


def collect(files: Iterable[Path], keys: Keys) -> Links:
    """The links of original files.

    Args:
        files: DICOM objects as they were before de-identification; of each the pixel data are left alone.
        keys: Of the project, with the greatest date shift of the profile that is used.

    Raises:
        InputError: A file is no DICOM file, or damaged.
    """
    found = Links()
    for path in files:
        data = path.read_bytes()
        seen = look(data)
        pseudonym = keys.patient(seen.patient_key)
        found.patients.setdefault(pseudonym, {**_attributes(data), "shift_days": keys.shift_days(seen.patient_key)})
        for uid in uids_of(data):
            if (new := keys.uid(uid)) != uid:
                found.uids[new] = uid
    return found


def uids_of(data: bytes) -> Iterator[str]:
    """Every UID in a DICOM file, its file meta information included."""
    stored = open_bytes(data)
    if stored.sop_uid:
        yield stored.sop_uid
    yield from _uids(stored.data, stored.start, len(stored.data), stored.encoding)


def seal(links: Links) -> dict[str, Any]:
    """The table as JSON-ready values that say nothing without the key."""
    plain = json.dumps({"patients": links.patients, "uids": links.uids}, sort_keys=True, ensure_ascii=False).encode()
    sealed = _cipher(_key()).encrypt(plain, [KIND.encode()])
    return {"kind": KIND, "cipher": "AES-SIV, key by scrypt", "sealed": base64.b85encode(sealed).decode()}


def unseal(tables: Iterable[Mapping[str, Any]]) -> Links:
    """The links of sealed tables, put together.

    Raises:
        InputError: A table is none, was altered, or was sealed with another key.
    """
    from cryptography.exceptions import InvalidTag

    found = Links()
    for one in tables:
        if one.get("kind") != KIND:
            raise InputError("link table", "this is no link table", allowed="a report of link-identities")
        try:
            plain = _cipher(_key()).decrypt(base64.b85decode(one["sealed"]), [KIND.encode()])
        except (InvalidTag, ValueError):
            do = f"set {ENVIRONMENT} or {FILE} as when it was made"
            raise InputError("link table", "it was altered, or sealed with another key", do=do) from None
        told = json.loads(plain)
        found.add(Links(told["patients"], told["uids"]))
    return found


def _key() -> bytes:
    return from_environment(ENVIRONMENT) or secret()


@lru_cache(maxsize=4)
def _cipher(key: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV
    except ImportError:
        raise MissingDependencyError(
            "cryptography", "is not installed", do="run: pip install 'claimed_med[network]'"
        ) from None
    return AESSIV(hashlib.scrypt(key, salt=KIND.encode(), n=_WORK_FACTOR, r=8, p=1, dklen=64))


def _attributes(data: bytes) -> dict[str, str]:
    from claimed_med.dicom.deid_values import decoded

    stored = open_bytes(data)
    top = {
        one.tag: stored.data[one.value : one.end]
        for one in elements(stored.data, stored.start, len(stored.data), stored.encoding, before_pixels=True)
        if one.tag in {0x00080005, *_PATIENT.values()}
    }
    charset = top.get(0x00080005, b"").decode("latin-1").strip(" \0")
    return {keyword: decoded(top.get(tag, b""), charset)[0].strip() for keyword, tag in _PATIENT.items()}


def _uids(data: bytes, start: int, end: int, encoding: Encoding) -> Iterator[str]:
    for one in elements(data, start, end, encoding, before_pixels=True):
        if one.vr == "SQ":
            inner = inner_encoding(data, one, encoding)
            for first, last in items(data, one, inner):
                yield from _uids(data, first, last, inner)
        elif one.vr == "UI":
            for uid in data[one.value : one.end].decode("latin-1").split("\\"):
                if bare := uid.strip(" \0"):
                    yield bare
