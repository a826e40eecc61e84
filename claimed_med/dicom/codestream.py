"""How large a compressed image says it is itself: a decoder believes its codestream, not the DICOM header."""

from __future__ import annotations

import struct

_J2K_SIZE, _JP2_BOX = b"\xff\x4f\xff\x51", b"jp2c"
_FILL, _ALONE = 0xFF, frozenset({0x01, *range(0xD0, 0xD9)})
# start of frame of JPEG (without the tables 0xC4, 0xC8, 0xCC), and of JPEG-LS
_FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}


def coded_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns of a JPEG, JPEG-LS or JPEG 2000 codestream; None where it does not tell.

    Args:
        frame: One frame as encapsulated.

    Source:
        ITU-T T.81 B.2.2 (SOF), T.87 C.2.2, T.800 A.5.1 (SIZ: image area from its offset on).
    """
    start = frame.find(_J2K_SIZE, 0, 4096)
    if start >= 0 and (start == 0 or _JP2_BOX in frame[:start]):
        try:
            width, height, left, top = struct.unpack_from(">IIII", frame, start + 8)
        except struct.error:
            return None
        return height - top, width - left
    return _jpeg_size(frame) if frame[:2] == b"\xff\xd8" else None


def _jpeg_size(frame: bytes) -> tuple[int, int] | None:
    place = 2
    while place + 9 <= len(frame) and frame[place] == _FILL:
        marker = frame[place + 1]
        if marker == _FILL or marker in _ALONE:
            place += 1 if marker == _FILL else 2
            continue
        if marker in _FRAMES:
            rows, columns = struct.unpack_from(">HH", frame, place + 5)
            return int(rows), int(columns)
        place += 2 + int.from_bytes(frame[place + 2 : place + 4], "big")
    return None
