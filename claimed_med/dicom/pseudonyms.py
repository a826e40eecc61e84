"""New names, identifiers and dates, derived with a keyed hash: the same everywhere, irreversible without the secret.

Source:
    RFC 2104 (HMAC); DICOM PS3.15 E.3.6 for dates.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from datetime import date, timedelta
from functools import cache, lru_cache

from claimed_med.errors import InputError
from claimed_med.secret import secret

SHORTEST_SECRET = 16
DICOM_ROOT = "1.2.840.10008."
_REST = re.compile(r"\d*(?:\.\d*)?(?:[+-]\d{4})?\s*")  # time of day, fraction and zone


class Keys:
    """All that is derived from the project's secret for one run.

    Args:
        key: The secret.
        max_shift_days: Dates move back by 1 to so many days, the same number for all of a patient; 0 for not at all.

    Raises:
        InputError: The secret is empty.
    """

    def __init__(self, key: bytes, max_shift_days: int = 0) -> None:
        if not key:
            raise InputError("secret", "is empty", do="set CLAIMED_MED_SECRET or CLAIMED_MED_SECRET_FILE")
        self._key = key
        self.max_shift_days = max_shift_days
        self.is_short = len(key) < SHORTEST_SECRET
        self.uid = lru_cache(maxsize=1 << 16)(self._uid)

    def mac(self, kind: str, value: str | bytes) -> bytes:
        """HMAC-SHA256 of a value; the same value of two kinds gives two results."""
        content = value if isinstance(value, bytes) else value.encode()
        return hmac.new(self._key, kind.encode() + b"\0" + content, hashlib.sha256).digest()

    def name(self, kind: str, value: str | bytes) -> str:
        """A name of 16 hex digits for a value."""
        return self.mac(kind, value)[:8].hex()

    def patient(self, patient_key: str) -> str:
        """The new PatientID and PatientName."""
        return f"P{self.name('patient', patient_key).upper()}"

    def shift_days(self, patient_key: str) -> int:
        """By how many days the dates of a patient move back."""
        if not self.max_shift_days:
            return 0
        return 1 + int.from_bytes(self.mac("dates", patient_key)[:8], "big") % self.max_shift_days

    def _uid(self, value: str) -> str:
        """The new UID of an old one; those that the standard defines stay."""
        if not value or value.startswith(DICOM_ROOT):
            return value
        return f"2.25.{int.from_bytes(self.mac('uid', value)[:16], 'big')}"


def keys_from_environment(max_shift_days: int) -> Keys:
    """The keys of this project: see `claimed_med.secret`; a short secret is warned of once."""
    keys = Keys(secret(), max_shift_days)
    if keys.is_short:
        _warn_of_short_secret()
    return keys


@cache
def _warn_of_short_secret() -> None:
    logging.getLogger(__name__).warning(
        "the secret is shorter than %d bytes and could be guessed: use a longer one", SHORTEST_SECRET
    )


def shifted(value: str, n_days: int) -> str:
    """A DA or DT value (or several) moved back by days; what is no date becomes empty.

    Times of day, fractions and time zones stay.
    """
    return "\\".join(_moved(one.strip(" \0"), n_days) for one in value.split("\\"))


def _moved(value: str, n_days: int) -> str:
    digits = value.replace(".", "", 2) if value[4:5] == "." else value  # ACR-NEMA 1993.08.22
    try:
        moved = date(int(digits[:4]), int(digits[4:6] or 1), int(digits[6:8] or 1)) - timedelta(days=n_days)
    except (ValueError, OverflowError):
        return ""
    if not _REST.fullmatch(digits[8:]):
        return ""
    kept = min(8, len(digits[:8]) // 2 * 2)
    return moved.strftime("%Y%m%d")[:kept].rjust(4, "0") + digits[8:] if len(digits) >= 4 else ""
