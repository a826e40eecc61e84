"""The bytes of a DICOM file around an encoded data set."""

from __future__ import annotations

import zlib

from claimed_med.dicom.elements import DEFLATED, Encoding, encoded
from claimed_med.dicom.uid import IMPLEMENTATION_UID

_META = Encoding()


def file_of(body: bytes, syntax: str, sop_class: str, sop_uid: str) -> bytes:
    """Preamble, file meta information and data set.

    Args:
        body: The encoded data set, not deflated.
        syntax: Transfer syntax UID; a deflated one deflates the body.
        sop_class: SOP class UID.
        sop_uid: SOP instance UID.
    """
    told = [
        (0x00020001, "OB", b"\x00\x01"),
        (0x00020002, "UI", sop_class.encode()),
        (0x00020003, "UI", sop_uid.encode()),
        (0x00020010, "UI", syntax.encode()),
        (0x00020012, "UI", IMPLEMENTATION_UID.encode()),
        (0x00020013, "SH", b"CLAIMED_MED"),
    ]
    meta = b"".join(encoded(tag, vr, value, _META) for tag, vr, value in told if value)
    length = encoded(0x00020000, "UL", len(meta).to_bytes(4, "little"), _META)
    if syntax == DEFLATED:
        packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        body = packer.compress(body) + packer.flush()
        body += b"\0" * (len(body) % 2)
    return bytes(128) + b"DICM" + length + meta + body
