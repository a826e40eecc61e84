"""STOW-RS: objects go in batches straight from files onto the wire, and every instance has its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from claimed_med.dicom.header import NotReadable, open_instance, text
from claimed_med.dicom.web_multipart import Body
from claimed_med.dicom.web_search import INSTANCE, CannotSearch, is_uid, search, value
from claimed_med.dicom.web_transport import JSON, Busy, read_json
from claimed_med.errors import OutputError, name_of
from claimed_med.payload import sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from claimed_med.dicom.web_transport import Transport

STORED, ALREADY_STORED, FAILED, SKIPPED = "stored", "already stored", "failed", "skipped"
CANNOT_UNDERSTAND, DUPLICATE = 0xC000, 0x0111
NO_REASON = "no reason given"
_REFERENCED, _FAILED = "00081199", "00081198"
_REFERENCED_UID, _FAILURE, _WARNING = "00081155", "00081197", "00081196"
# what servers answer for an instance that they have: DICOM's own code, and that of the Azure service
_HAVE_IT = frozenset({DUPLICATE, 0xB00E})
_OK, _SERVER_ERROR, _NO_SERVICE = 200, 500, frozenset({404, 405, 501})
_TRIES_OF_500 = 2


@dataclass(frozen=True)
class Stored:
    """What became of one instance.

    Attributes:
        sop_uid: SOPInstanceUID; where a file has none, the digest that names it.
        status: `stored`, `already stored` (in the archive before it was sent, or sent again), `failed`, or `skipped`
            (the file is no DICOM object).
        reason: Failure or warning reason in hex (PS3.4 annex B, PS3.7 annex C), or a sentence; '' for none.
    """

    sop_uid: str
    status: str
    reason: str = ""


@dataclass(frozen=True)
class _Outgoing:
    path: Path
    sop_uid: str
    study_uid: str
    series_uid: str
    size: int


def store(net: Transport, paths: Iterable[Path], batch_size: int, batch_bytes: int) -> list[Stored]:
    """Store files; one result each, in their order. A repeated file has one result.

    Args:
        net: To the archive.
        paths: DICOM files.
        batch_size: Most instances of a request.
        batch_bytes: Most bytes of a request; a larger object goes alone.
    """
    results: dict[str, Stored] = {}
    outgoing: dict[str, _Outgoing] = {}
    order = dict.fromkeys(_sort_in(path, outgoing, results) for path in paths)
    sending = _Sending(net, results)
    try:
        left = sending.without_present(list(outgoing.values()), ALREADY_STORED)
        for batch in _batches(left, batch_size, batch_bytes):
            sending.send(batch)
    except net.error as error:
        results |= {uid: Stored(uid, FAILED, error.what) for uid in outgoing if uid not in results}
    return [results[key] for key in order]


def require_all(results: Sequence[Stored]) -> None:
    """Raise when not every object arrived.

    Raises:
        OutputError: Some failed; it says how many, and why.
    """
    failed = [one for one in results if one.status == FAILED]
    if failed:
        reasons = ", ".join(sorted({one.reason or NO_REASON for one in failed}))
        what = f"{len(failed)} of {len(results)} objects were not stored"
        raise OutputError("archive", what, got=reasons, do="run again: what is there is not sent twice")


def _sort_in(path: Path, outgoing: dict[str, _Outgoing], results: dict[str, Stored]) -> str:
    """Put a file among those to send, or what became of it among the results; the key under which it is there."""
    try:
        instance = open_instance(path)
    except NotReadable as error:
        name, is_junk = name_of(path), error.finding.name == "DicomDirectory" or not _has_mark(path)
        results[name] = Stored(name, SKIPPED if is_junk else FAILED, "" if is_junk else _hex(CANNOT_UNDERSTAND))
        return name
    uid = instance.sop_uid
    if not is_uid(uid):
        name = name_of(path)
        results[name] = Stored(name, FAILED, _hex(CANNOT_UNDERSTAND))
        return name
    if uid in outgoing and sha256_of(path) != sha256_of(outgoing[uid].path):
        key = f"{uid} {name_of(path)}"
        results[key] = Stored(uid, FAILED, _hex(DUPLICATE))
        return key
    study_uid, series_uid = (text(instance.dataset, f"{level}InstanceUID") for level in ("Study", "Series"))
    outgoing[uid] = _Outgoing(path, uid, study_uid, series_uid, instance.file_size)
    return uid


def _has_mark(path: Path) -> bool:
    """Whether a file says of itself that it is DICOM, or cannot be opened: then it is damaged, and no junk."""
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return True


def _batches(outgoing: Sequence[_Outgoing], batch_size: int, batch_bytes: int) -> Iterator[list[_Outgoing]]:
    """Split into requests; the instances of a series stay together."""
    batch: list[_Outgoing] = []
    for one in sorted(outgoing, key=lambda one: (one.study_uid, one.series_uid, one.sop_uid)):
        if batch and (len(batch) >= batch_size or sum(held.size for held in batch) + one.size > batch_bytes):
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch


class _Sending:
    """Batches on their way to an archive; fills `results`."""

    def __init__(self, net: Transport, results: dict[str, Stored]) -> None:
        self.net, self.results = net, results
        self.can_ask = True

    def send(self, batch: list[_Outgoing], *, is_split: bool = False) -> None:
        """Send one batch until each of its instances has a result.

        Args:
            batch: What to send; may be empty.
            is_split: Whether it is a part of a batch that failed: then it is not tried so often.

        Raises:
            OutputError: The archive does not answer any more, or stores nothing at all.
        """
        tried = 0
        while batch:
            try:
                status, answer = self._post(batch)
            except Busy as busy:
                tried += 1
                n_tries = 1 if is_split else _TRIES_OF_500
                if busy.status == _SERVER_ERROR and tried >= n_tries:
                    self._retry_apart(batch, self.without_present(batch, ALREADY_STORED), busy.what)
                    return
                self.net.rest(tried, busy)
                batch = self.without_present(batch, ALREADY_STORED)
                continue
            told = _told(answer)
            self.results.update({one.sop_uid: told[one.sop_uid] for one in batch if one.sop_uid in told})
            untold = self.without_present([one for one in batch if one.sop_uid not in told], STORED)
            if status == _OK and not self.can_ask:  # 200 says that all is stored
                self.results.update({one.sop_uid: Stored(one.sop_uid, STORED) for one in untold})
            else:
                self._retry_apart(batch, untold, f"HTTP {status}, not named in the answer")
            return

    def without_present(self, batch: list[_Outgoing], status: str) -> list[_Outgoing]:
        """What the archive does not have yet, as far as it tells; the rest gets this status."""
        there: set[str] = set()
        for study_uid, series_uid in sorted({(one.study_uid, one.series_uid) for one in batch}):
            if is_uid(study_uid) and is_uid(series_uid) and self.can_ask:
                try:
                    there |= set(search(self.net, f"studies/{study_uid}/series/{series_uid}/instances", INSTANCE))
                except CannotSearch:
                    self.can_ask = False
        self.results.update({one.sop_uid: Stored(one.sop_uid, status) for one in batch if one.sop_uid in there})
        return [one for one in batch if one.sop_uid not in there]

    def _post(self, batch: list[_Outgoing]) -> tuple[int, Any]:
        with self.net.once("studies", JSON, body=Body([one.path for one in batch])) as response:
            status = response.status_code
            if status in _NO_SERVICE:
                raise self.net.fail("the server stores no objects at this address", got=f"HTTP status {status}")
            try:
                return status, read_json(response)
            except ValueError:  # no JSON: what was stored is found out by asking
                return status, None

    def _retry_apart(self, batch: list[_Outgoing], left: list[_Outgoing], why: str) -> None:
        """Send what is left of a batch in halves: one object must not keep the others out. Alone, it has failed."""
        if len(batch) == 1:
            self.results.update({one.sop_uid: Stored(one.sop_uid, FAILED, why) for one in left})
            return
        middle = len(left) // 2
        for half in (left[:middle], left[middle:]):
            self.send(half, is_split=True)


def _told(answer: Any) -> dict[str, Stored]:
    """What the answer to a store request says of each instance."""
    document = answer[0] if isinstance(answer, list) and answer else answer
    told = {}
    for item in _items(document, _REFERENCED):
        uid = value(item, _REFERENCED_UID)
        if is_uid(uid):
            told[uid] = Stored(uid, STORED, _hex(_code(item, _WARNING)))
    for item in _items(document, _FAILED):
        uid, code = value(item, _REFERENCED_UID), _code(item, _FAILURE)
        if is_uid(uid):
            told[uid] = Stored(uid, ALREADY_STORED if code in _HAVE_IT else FAILED, _hex(code) or NO_REASON)
    return told


def _items(document: Any, tag: str) -> list[Any]:
    element = document.get(tag) if isinstance(document, dict) else None
    items = element.get("Value") if isinstance(element, dict) else None
    return items if isinstance(items, list) else []


def _code(item: Any, tag: str) -> int:
    code = value(item, tag)
    return code if isinstance(code, int) and not isinstance(code, bool) else 0


def _hex(code: int) -> str:
    return f"0x{code:04X}" if code else ""
