"""WADO-RS: objects go straight from the wire into files, byte for byte as the archive keeps them."""

from __future__ import annotations

import contextlib
import threading
import uuid
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

import requests
from pydicom import dcmread
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from claimed_med.dicom.header import UNDEFINED, UNREADABLE, NotReadable, open_instance, quiet, text
from claimed_med.dicom.web_multipart import CHUNK, NotMultipart, boundary_of, parts
from claimed_med.dicom.web_search import INSTANCE, N_IN_SERIES, SERIES, CannotSearch, count, is_uid, search
from claimed_med.dicom.web_transport import Busy
from claimed_med.errors import OutputError
from claimed_med.payload import PARTIAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from claimed_med.dicom.web_transport import Transport

_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'  # as stored: nothing is transcoded
_OK, _GONE, _NOT_ACCEPTABLE = 200, frozenset({404, 410}), 406
_KEYWORDS = ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
_PREAMBLE = 132
# pydicom is made silent by state of the whole process, so one thread reads a header at a time
_reading = threading.Lock()


@dataclass(frozen=True)
class Retrieved:
    """A study in a folder.

    Attributes:
        study_uid: StudyInstanceUID.
        files: Its instances, `<SOPInstanceUID>.dcm`, sorted.
        n_received: How many came over the network now; the others were there already.
    """

    study_uid: str
    files: tuple[Path, ...]
    n_received: int


@dataclass(frozen=True)
class _Part:
    """A series to retrieve, or a whole study where the server does not list its series."""

    study_uid: str
    series_uid: str = ""
    n_instances: int = -1

    @property
    def path(self) -> str:
        return f"studies/{self.study_uid}" + (f"/series/{self.series_uid}" if self.series_uid else "")


def retrieve(net: Transport, study_uids: Sequence[str], folder: Path) -> list[Retrieved]:
    """Retrieve studies, several series at a time; what is whole in the folder is not asked for again.

    Raises:
        InputError: The archive does not have a study, sends something else, or does not answer.
        OutputError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()
    with ThreadPoolExecutor(net.n_connections) as pool:
        try:
            wanted = [part for found in pool.map(lambda uid: _series_of(net, uid), study_uids) for part in found]
            tasks = [pool.submit(_Retrieval(net, part, folder, stop).run) for part in wanted]
            wait(tasks, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
    failed = [error for task in tasks if not task.cancelled() and (error := task.exception())]
    for error in sorted(failed, key=lambda error: isinstance(error, _Stopped)):
        raise error
    uids = {study_uid: set[str]() for study_uid in study_uids}
    n_received = dict.fromkeys(study_uids, 0)
    for part, task in zip(wanted, tasks, strict=True):
        found_uids, received = task.result()
        uids[part.study_uid] |= found_uids
        n_received[part.study_uid] += len(received)
    return [
        Retrieved(study_uid, tuple(sorted(folder / f"{uid}.dcm" for uid in found)), n_received[study_uid])
        for study_uid, found in uids.items()
    ]


def _series_of(net: Transport, study_uid: str) -> list[_Part]:
    try:
        found = search(net, f"studies/{study_uid}/series", SERIES, {"includefield": N_IN_SERIES})
    except CannotSearch:
        return [_Part(study_uid)]
    if not found:
        raise net.fail("the archive has no such study", got=study_uid, do="check the query")
    return [_Part(study_uid, uid, count(row, N_IN_SERIES)) for uid, row in sorted(found.items())]


class _Stopped(Exception):  # noqa: N818 - no failure: another series has failed
    """This series was left because nobody waits for it any more."""


class _Retrieval:
    """One series on its way into a folder."""

    def __init__(self, net: Transport, part: _Part, folder: Path, stop: threading.Event) -> None:
        self.net, self.part, self.folder, self.stop = net, part, folder, stop
        self.received: set[str] = set()

    def run(self) -> tuple[set[str], set[str]]:
        """UIDs of all instances, and of those that came now."""
        listed = self._listed()
        if listed is None:
            self._patiently(self.part.path)
            return self.received, self.received
        missing = {uid for uid in listed if not self._whole(uid)}
        if missing == listed:
            self._patiently(self.part.path, until_any=True)
        for uid in sorted(missing - self.received):
            self._patiently(f"{self.part.path}/instances/{uid}")
        if lost := missing - self.received:
            what = "the archive lists instances that it does not give"
            raise self.net.fail(what, got=f"{len(lost)} of {len(listed)}")
        return listed | self.received, self.received

    def _listed(self) -> set[str] | None:
        if not self.part.series_uid:
            return None
        try:
            path = f"{self.part.path}/instances"
            return set(search(self.net, path, INSTANCE, expected=self.part.n_instances)) or None
        except CannotSearch:
            return None

    def _patiently(self, path: str, *, until_any: bool = False) -> None:
        """Receive what lies at `path`; of an answer that breaks, what arrived is kept.

        Args:
            path: Of a study, series or instance.
            until_any: Return after an answer that broke, when something has arrived: the rest is asked for one by one.
        """
        tried = 0
        while True:
            before = len(self.received)
            try:
                self._receive(path)
            except Busy as busy:
                tried = 1 if len(self.received) > before else tried + 1
                self.net.rest(tried, busy, f"{len(self.received)} instances of the series arrived before")
                if until_any and self.received:
                    return
            else:
                return

    def _receive(self, path: str) -> None:
        if self.stop.is_set():
            raise _Stopped
        with self.net.once(path, _ACCEPT) as response:
            status = response.status_code
            if status in _GONE:
                raise self.net.fail("the archive does not have what it lists", got=f"HTTP status {status}")
            if status == _NOT_ACCEPTABLE:
                raise self.net.fail("the archive does not give objects as it keeps them", got=f"HTTP status {status}")
            if status != _OK:
                raise self.net.fail("the archive does not give the objects", got=f"HTTP status {status}")
            try:
                boundary = boundary_of(response.headers.get("Content-Type", ""))
            except NotMultipart:
                raise self.net.fail("the archive answers with something else than DICOM objects") from None
            for part in parts(self.net.counted(response.iter_content(CHUNK)), boundary):
                self._keep(part)
                if self.stop.is_set():
                    raise _Stopped

    def _keep(self, part: Iterator[bytes]) -> None:
        """Write one object beside its place, look at it, and give it its name."""
        partial = self.folder / f"{PARTIAL}{uuid.uuid4().hex}"
        try:
            with partial.open("wb") as stream:
                for chunk in part:
                    stream.write(chunk)
            uid = self._checked(partial)
            partial.replace(self.folder / f"{uid}.dcm")
        except requests.RequestException:
            raise  # is an OSError too, but of the network
        except OSError as error:
            raise OutputError("dicomweb", "the folder cannot be written", got=error.strerror) from None
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
        self.received.add(uid)

    def _checked(self, path: Path) -> str:
        uid, study_uid, series_uid = identify(path)
        if not is_uid(uid):
            raise self.net.fail("the archive sends something that is no DICOM object, or has no valid SOPInstanceUID")
        if study_uid and study_uid != self.part.study_uid:
            raise self.net.fail("the archive sends an object of another study", got=uid)
        if series_uid and self.part.series_uid and series_uid != self.part.series_uid:
            raise self.net.fail("the archive sends an object of another series", got=uid)
        return uid

    def _whole(self, uid: str) -> bool:
        """Whether an earlier run brought this instance, of this series, to its end."""
        path = self.folder / f"{uid}.dcm"
        if not path.is_file():
            return False
        try:
            with _reading:
                instance = open_instance(path)
        except NotReadable:
            return False
        end = instance.pixel_offset + (0 if instance.pixel_length == UNDEFINED else instance.pixel_length)
        series_uid = text(instance.dataset, "SeriesInstanceUID")
        return instance.sop_uid == uid and series_uid == self.part.series_uid and end <= instance.file_size


def identify(path: Path) -> tuple[str, str, str]:
    """SOPInstanceUID, StudyInstanceUID and SeriesInstanceUID of a DICOM file; '' for what cannot be read.

    Nothing is inflated: of a deflated object only the first is known, from its file meta information.
    """
    with path.open("rb") as stream:
        if stream.read(_PREAMBLE)[128:] != b"DICM":
            return "", "", ""
    with _reading, quiet():
        try:
            meta = read_file_meta_info(path)
            if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
                return str(meta.get("MediaStorageSOPInstanceUID", "")), "", ""
            dataset = dcmread(path, stop_before_pixels=True, specific_tags=_KEYWORDS)
            uid, study_uid, series_uid = (text(dataset, keyword) for keyword in _KEYWORDS)
        except (*UNREADABLE, EOFError, OSError):
            return "", "", ""
    return uid, study_uid, series_uid
