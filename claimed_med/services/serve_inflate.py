"""How far deflated DICOM files unfold, found before anything keeps what is in them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from pydicom import filereader
from pydicom.uid import DeflatedExplicitVRLittleEndian

from claimed_med.dicom.header import quiet
from claimed_med.dicom.web_multipart import CHUNK
from claimed_med.errors import InputError, name_of
from claimed_med.services.serve_error import WHERE, TooLarge


def check_inflated(paths: Iterable[Path], most: int) -> None:
    """Refuse files whose deflated data sets together grow beyond a limit; nothing of what is inflated is kept.

    Args:
        paths: Files; those that are not deflated, or no DICOM, are passed over.
        most: Bytes.

    Raises:
        InputError: A deflated data set is damaged.
        TooLarge: They grow beyond the limit.
    """
    left = most
    for path in paths:
        with path.open("rb") as stream:
            if _find_deflated(stream):
                left -= _inflated_size(stream, left, path)
        if left < 0:
            raise TooLarge(WHERE, "deflated files are larger than is taken", allowed=f"{most >> 20} MiB")


def _find_deflated(stream: BinaryIO) -> bool:
    """Whether a file has a deflated data set; leaves the stream where that starts.

    Where it starts is what the reader of the headers takes for it: its own functions, in its order. What a preamble
    says besides, or how long the file meta information says it is, must not matter, since it does not matter there.
    """
    try:
        with quiet():
            filereader.read_preamble(stream, force=True)
            meta = filereader._read_file_meta_info(stream)  # noqa: SLF001 - the public one does not tell where it ends
            filereader._read_command_set_elements(stream)  # noqa: SLF001 - neither does this
            return bool(meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian)
    except Exception:  # noqa: BLE001 - damaged files fail in every way, and are found damaged later
        return False


def _inflated_size(stream: BinaryIO, most: int, path: Path) -> int:
    """What it unfolds to [bytes], or something beyond the limit."""
    inflater, total, rest = zlib.decompressobj(-zlib.MAX_WBITS), 0, stream.read()
    try:
        while rest and total <= most and not inflater.eof:
            total += len(inflater.decompress(rest, CHUNK))
            rest = inflater.unconsumed_tail
    except zlib.error:
        raise InputError(WHERE, "a deflated file is damaged", got=name_of(path)) from None
    return total
