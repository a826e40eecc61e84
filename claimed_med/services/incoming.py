"""Keep received objects: whole and on the disk before the sender hears of success, or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from claimed_med.dicom.elements import BIG, DEFLATED, IMPLICIT, Encoding, elements
from claimed_med.errors import InputError
from claimed_med.payload import PARTIAL

if TYPE_CHECKING:
    from pathlib import Path

HEAD_BYTES = 1 << 20
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_STUDY, _SERIES, _INSTANCE = 0x0020000D, 0x0020000E, 0x00080018
_LONGEST_UID = 64


@dataclass(frozen=True)
class Received:
    """One object that was received and is on the disk.

    Attributes:
        path: Its file.
        sop_uid: SOPInstanceUID.
        series_uid: SeriesInstanceUID.
        study_uid: StudyInstanceUID.
        sop_class_uid: SOP class.
        calling_aet: Who sent it.
        repeated: Whether the very same bytes were here already.
    """

    path: Path
    sop_uid: str
    series_uid: str
    study_uid: str
    sop_class_uid: str
    calling_aet: str
    repeated: bool


def identifiers(data_set: bytes, syntax: str) -> dict[str, str]:
    """Study, series and instance UIDs of an encoded data set; of a deflated one no more than 1 MiB is inflated.

    Raises:
        InputError: The start of the data set cannot be read.
    """
    if syntax == DEFLATED:
        try:
            data_set = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data_set, HEAD_BYTES)
        except zlib.error:
            raise InputError("receiver", "the deflated data set is damaged") from None
    head = data_set[:HEAD_BYTES]
    wanted = {_STUDY: "study", _SERIES: "series", _INSTANCE: "instance"}
    found: dict[str, str] = {}
    try:
        for one in elements(head, 0, len(head), Encoding(syntax == IMPLICIT, syntax == BIG), before_pixels=True):
            if one.tag > _SERIES:
                break
            if one.tag in wanted:
                found[wanted[one.tag]] = head[one.value : one.end].decode("latin-1").strip(" \0")
    except InputError:
        if len(data_set) <= HEAD_BYTES:
            raise
    return found


def checked_uid(text: str) -> str:
    """A UID that can name a file.

    Raises:
        InputError: It is none: no path ever comes from a sender.
    """
    if len(text) > _LONGEST_UID or not _UID.fullmatch(text):
        raise InputError("receiver", "an identifier is no UID", allowed="digits and single dots, at most 64")
    return text


class Store:
    """A folder `<study_uid>/<sop_uid>.dcm`.

    Args:
        folder: Made when it is not there; what a killed receiver left half written goes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"*/{PARTIAL}*"):
            left.unlink()
        self._naming = threading.Lock()

    def keep(self, study_uid: str, sop_uid: str, content: bytes) -> tuple[Path, bool]:
        """Write one object durably.

        The same bytes again are not written again; other bytes under a known SOPInstanceUID are kept beside the first,
        with the start of their digest in the name, so that nothing is lost or overwritten.

        Returns:
            Its path, and whether it was here already.

        Raises:
            InputError: An identifier is no UID.
            OSError: The disk does not take it.
        """
        folder = self.folder / checked_uid(study_uid)
        final = folder / f"{checked_uid(sop_uid)}.dcm"
        if self._made(folder):
            _sync(self.folder)
        partial = folder / f"{PARTIAL}{os.getpid()}-{threading.get_ident()}"
        try:
            with partial.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            with self._naming:
                if final.is_file():
                    if _same(final, content):
                        return final, True
                    final = folder / f"{sop_uid}.{hashlib.sha256(content).hexdigest()[:12]}.dcm"
                partial.rename(final)
        finally:
            partial.unlink(missing_ok=True)
        _sync(folder)
        return final, False

    @staticmethod
    def _made(folder: Path) -> bool:
        try:
            folder.mkdir()
        except FileExistsError:
            return False
        return True


def _same(path: Path, content: bytes) -> bool:
    return path.stat().st_size == len(content) and path.read_bytes() == content


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
