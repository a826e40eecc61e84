"""Keep received objects: whole and on the disk before the sender hears of success, or not at all."""

from __future__ import annotations

import filecmp
import itertools
import os
import re
import struct
import threading
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from claimed_med.dicom.elements import BIG, DEFLATED, IMPLICIT, Encoding, elements
from claimed_med.errors import InputError
from claimed_med.payload import PARTIAL, sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEAD_BYTES = 1 << 20
FILE_MODE, FOLDER_MODE = 0o640, 0o750  # patients' data: nobody else on the machine may read them
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_WANTED = {0x00080016: "sop_class_uid", 0x00080018: "sop_uid", 0x0020000D: "study_uid", 0x0020000E: "series_uid"}
_LAST = max(_WANTED)
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


@dataclass(frozen=True)
class Identifiers:
    """What a data set says it is; '' for what it does not say."""

    sop_class_uid: str = ""
    sop_uid: str = ""
    study_uid: str = ""
    series_uid: str = ""


def identifiers(head: bytes, syntax: str) -> Identifiers:
    """Read what a data set is from its first bytes; of a deflated one no more than 1 MiB is inflated.

    Args:
        head: The data set, or its first MiB.
        syntax: Transfer syntax UID.

    Raises:
        InputError: They cannot be read.
    """
    if syntax == DEFLATED:
        try:
            head = zlib.decompressobj(-zlib.MAX_WBITS).decompress(head, HEAD_BYTES)
        except zlib.error:
            raise InputError("receiver", "the deflated data set is damaged") from None
    found: dict[str, str] = {}
    try:
        for one in elements(head, 0, len(head), Encoding(syntax == IMPLICIT, syntax == BIG), before_pixels=True):
            if one.tag in _WANTED:
                found[_WANTED[one.tag]] = head[one.value : one.end].decode("latin-1").strip(" \0")
            if one.tag >= _LAST:
                break
    except (InputError, RecursionError, struct.error):
        if len(head) < HEAD_BYTES:
            raise InputError("receiver", "the data set cannot be read") from None
    return Identifiers(**found)


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
        folder: Made when it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
            _sync(folder.parent)
        self._naming = threading.Lock()
        self._durable: set[str] = set()  # folders whose own names are on the disk
        self._numbers = itertools.count()

    def recover(self) -> int:
        """Remove what a killed receiver left half written; only while no other receiver writes here.

        Returns:
            How many files went.
        """
        left = [one for pattern in (f"{PARTIAL}*", f"*/{PARTIAL}*") for one in self.folder.glob(pattern)]
        for one in left:
            one.unlink()
        return len(left)

    def arrival(self) -> Arrival:
        """A file that is being received.

        Raises:
            OSError: It cannot be made.
        """
        return Arrival(self, self.folder / f"{PARTIAL}{os.getpid()}-{next(self._numbers)}")

    def keep(self, study_uid: str, sop_uid: str, content: bytes) -> tuple[Path, bool]:
        """Write one object durably, as `Arrival.keep` does."""
        with self.arrival() as arriving:
            arriving.write(content)
            return arriving.keep(study_uid, sop_uid)

    def held(self, sop_uids: set[str]) -> set[str]:
        """Those of some SOPInstanceUIDs whose objects are here."""
        wanted = {f"{uid}.dcm": uid for uid in sop_uids}
        found: set[str] = set()
        for folder in [one for one in self.folder.iterdir() if one.is_dir()]:
            with os.scandir(folder) as files:
                found.update(wanted[one.name] for one in files if one.name in wanted)
        return found

    def place(self, partial: Path, study_uid: str, sop_uid: str) -> tuple[Path, bool]:
        """Give a file that is whole its name, durably; see `Arrival.keep`."""
        folder = self.folder / checked_uid(study_uid)
        checked_uid(sop_uid)
        self._make(folder)
        for name in _names(sop_uid, partial):
            final = folder / name
            if not final.exists():
                _sync(partial)
            if self._named(partial, final):
                _sync(folder)
                return final, False
            if _same(final, partial):
                _sync(folder)  # who wrote it first may not have come so far
                return final, True
        raise FileExistsError

    def _make(self, folder: Path) -> None:
        if folder.name in self._durable and folder.is_dir():
            return
        folder.mkdir(FOLDER_MODE, exist_ok=True)
        _sync(self.folder)
        self._durable.add(folder.name)

    def _named(self, partial: Path, final: Path) -> bool:
        with self._naming:
            if final.exists():
                return False
            partial.rename(final)
            return True


class Arrival:
    """A file that is being received: hidden, until it is kept; gone at the end of the block, unless it was."""

    def __init__(self, store: Store, partial: Path) -> None:
        self._store, self._partial = store, partial
        self._stream = os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def write(self, content: bytes | memoryview) -> None:
        """Append bytes.

        Raises:
            OSError: The disk does not take them.
        """
        rest = memoryview(content)
        while rest:
            rest = rest[self._stream.write(rest) :]

    def keep(self, study_uid: str, sop_uid: str) -> tuple[Path, bool]:
        """Put the file where it belongs, durably: content first, then its name.

        The same bytes again are not kept twice; other bytes under a known SOPInstanceUID are kept beside the first,
        with the start of their digest in the name, so that nothing is lost or overwritten.

        Returns:
            Its path, and whether it was here already.

        Raises:
            InputError: An identifier is no UID.
            OSError: The disk does not take it.
        """
        self._stream.close()
        return self._store.place(self._partial, study_uid, sop_uid)

    def discard(self) -> None:
        """Remove the file, unless it was kept."""
        self._stream.close()
        self._partial.unlink(missing_ok=True)


def _names(sop_uid: str, partial: Path) -> Iterator[str]:
    """The name of an object, and the one that it gets where that is taken."""
    yield f"{sop_uid}.dcm"
    yield f"{sop_uid}.{sha256_of(partial)[:12]}.dcm"


def _same(one: Path, other: Path) -> bool:
    return one.stat().st_size == other.stat().st_size and filecmp.cmp(one, other, shallow=False)


def _sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
