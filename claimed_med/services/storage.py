"""What the receiver does with each object: check it while it arrives, keep it, answer with the right status."""

from __future__ import annotations

import logging
import shutil
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from claimed_med.dicom.elements import DEFLATED
from claimed_med.dicom.uid import IMPLEMENTATION_UID
from claimed_med.errors import ClaimedMedError, InputError
from claimed_med.services import dimse
from claimed_med.services.incoming import HEAD_BYTES, Identifiers, Received, checked_uid, identifiers

if TYPE_CHECKING:
    from collections.abc import Callable

    from claimed_med.services.incoming import Arrival, Store

log = logging.getLogger("claimed_med.receiver")
_HEADER = struct.Struct("<HH2sH")
_PREAMBLE = bytes(128) + b"DICM"


@dataclass(frozen=True)
class Answer:
    """What is answered to a request."""

    status: int
    comment: str = ""
    repeated: bool = False


class Refusal(Exception):  # noqa: N818 - an answer, no error of ours
    """Why an object is not taken."""

    def __init__(self, status: int, comment: str) -> None:
        super().__init__(comment)
        self.answer = Answer(status, comment)


@dataclass(frozen=True)
class Limits:
    """How much one object, and all of them, may take.

    Attributes:
        object_bytes: Largest object, as sent and inflated.
        free_bytes: What stays free on the disk.
    """

    object_bytes: int
    free_bytes: int


class Incoming:
    """One object that is arriving. After a refusal the rest of it is read and dropped.

    Args:
        service: Which service takes it.
        request: The C-STORE-RQ.
        syntax: Transfer syntax of the presentation context.
        calling_aet: Who sends it.
    """

    def __init__(self, service: StorageService, request: dimse.Command, syntax: str, calling_aet: str) -> None:
        self._service, self._request, self._syntax, self._calling_aet = service, request, syntax, calling_aet
        self._head = bytearray()
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS) if syntax == DEFLATED else None
        self._inflated = self.n_bytes = 0
        self._arrival: Arrival | None = None
        self._refusal: Answer | None = None
        self._repeated = False
        self._trying(self._begin)

    def write(self, fragment: memoryview) -> None:
        """Take the next bytes."""
        self.n_bytes += len(fragment)
        if self._refusal is None:
            self._trying(lambda: self._take(fragment))

    def finish(self) -> Answer:
        """Keep the object; the answer to the sender."""
        try:
            if self._refusal is None:
                self._trying(self._keep)
            return self._refusal or Answer(dimse.SUCCESS, repeated=self._repeated)
        finally:
            self.drop()

    def drop(self) -> None:
        """Forget what arrived, unless it was kept."""
        if self._arrival is not None:
            self._arrival.discard()
            self._arrival = None

    def _trying(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Refusal as refusal:
            self._refusal = refusal.answer
        except OSError as error:
            log.error("disk=refuses errno=%s", error.errno)  # noqa: TRY400 - a trace tells nothing more
            self._refusal = Answer(dimse.OUT_OF_RESOURCES, "the disk does not take it")
        if self._refusal is not None:
            self.drop()

    def _begin(self) -> None:
        try:
            checked_uid(self._request.instance)
            checked_uid(self._request.sop_class)
        except InputError:
            raise Refusal(dimse.CANNOT_UNDERSTAND, "the affected SOP class or instance UID is none") from None
        meta = file_meta(self._request.sop_class, self._request.instance, self._syntax)
        self._service.require_room(len(meta))
        self._arrival = self._service.store.arrival()
        self._arrival.write(meta)

    def _take(self, fragment: memoryview) -> None:
        self._service.require_room(len(fragment))
        if self.n_bytes > self._service.limits.object_bytes:
            raise Refusal(dimse.TOO_LARGE, "larger than this node takes")
        if self._inflater is not None:
            self._inflate(fragment)
        if len(self._head) < HEAD_BYTES:
            self._head += fragment[: HEAD_BYTES - len(self._head)]
        if self._arrival is not None:
            self._arrival.write(fragment)

    def _inflate(self, fragment: memoryview) -> None:
        """Count what a deflated object unfolds to; nothing of it is kept in memory."""
        inflater, rest, most = self._inflater, bytes(fragment), self._service.limits.object_bytes
        while inflater is not None and rest and not inflater.eof:
            try:
                self._inflated += len(inflater.decompress(rest, HEAD_BYTES))
            except zlib.error:
                raise Refusal(dimse.CANNOT_UNDERSTAND, "the deflated data set is damaged") from None
            if self._inflated > most:
                raise Refusal(dimse.TOO_LARGE, "unfolds to more than this node takes")
            rest = inflater.unconsumed_tail

    def _keep(self) -> None:
        if self._inflater is not None and not self._inflater.eof:
            raise Refusal(dimse.CANNOT_UNDERSTAND, "the deflated data set is cut off")
        told = self._identified()
        if self._arrival is None:
            raise Refusal(dimse.PROCESSING_FAILURE, "nothing arrived")
        path, self._repeated = self._arrival.keep(told.study_uid, told.sop_uid)
        received = Received(
            path=path,
            sop_uid=told.sop_uid,
            series_uid=told.series_uid,
            study_uid=told.study_uid,
            sop_class_uid=self._request.sop_class,
            calling_aet=self._calling_aet,
            repeated=self._repeated,
        )
        self._service.tell(received)

    def _identified(self) -> Identifiers:
        try:
            told = identifiers(bytes(self._head), self._syntax)
            checked_uid(told.study_uid)
            checked_uid(told.series_uid)
        except InputError:
            raise Refusal(dimse.CANNOT_UNDERSTAND, "no readable study and series UIDs") from None
        if told.sop_uid != self._request.instance or told.sop_class_uid not in {"", self._request.sop_class}:
            raise Refusal(dimse.MISMATCH, "the data set is not the announced object")
        return told


class StorageService:
    """Takes objects for a store.

    Args:
        store: Where they go.
        limits: How much they may take.
        kept: Called with each object that is durable, before success is answered; when it raises, the sender is told
            that there were no resources, and may send again.
    """

    def __init__(self, store: Store, limits: Limits, kept: Callable[[Received], None] | None) -> None:
        self.store, self.limits, self._kept = store, limits, kept

    def begin(self, request: dimse.Command, syntax: str, calling_aet: str) -> Incoming:
        """Start to take an object."""
        return Incoming(self, request, syntax, calling_aet)

    def free_bytes(self) -> int:
        """Free space of the disk."""
        return shutil.disk_usage(self.store.folder).free

    def require_room(self, n_bytes: int) -> None:
        """Check that bytes can be written without touching the reserve.

        Raises:
            Refusal: They cannot.
        """
        if self.free_bytes() - n_bytes < self.limits.free_bytes:
            raise Refusal(dimse.OUT_OF_RESOURCES, "not enough free disk space")

    def tell(self, received: Received) -> None:
        """Tell who wants to know of it.

        Raises:
            Refusal: They failed.
        """
        if self._kept is None:
            return
        try:
            self._kept(received)
        except Exception as error:  # noqa: BLE001 - whatever failed: the sender must not believe that all is well
            words = str(error) if isinstance(error, ClaimedMedError) else type(error).__name__
            log.error("sop_uid=%s kept=failed why=%s", received.sop_uid, words)  # noqa: TRY400 - may quote a header
            raise Refusal(dimse.OUT_OF_RESOURCES, "could not be taken on") from None


def file_meta(sop_class: str, sop_uid: str, syntax: str) -> bytes:
    """Preamble and file meta information (PS3.10 section 7.1) of an object; the same for every sender."""
    body = _meta_long(0x0001, b"\0\1")
    for element, value in ((0x0002, sop_class), (0x0003, sop_uid), (0x0010, syntax), (0x0012, IMPLEMENTATION_UID)):
        text = value.encode("latin-1")
        body += _meta(element, b"UI", text + b"\0" * (len(text) % 2))
    body += _meta(0x0013, b"SH", b"CLAIMED_MED ")
    return _PREAMBLE + _meta(0x0000, b"UL", struct.pack("<I", len(body))) + body


def _meta(element: int, vr: bytes, value: bytes) -> bytes:
    return _HEADER.pack(0x0002, element, vr, len(value)) + value


def _meta_long(element: int, value: bytes) -> bytes:
    return struct.pack("<HH2sHI", 0x0002, element, b"OB", 0, len(value)) + value
