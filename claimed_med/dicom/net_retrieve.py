"""C-GET and C-MOVE: fetch whole studies into a folder, and know what is missing.

The node is asked first which instances it holds (C-FIND). So the right SOP classes are proposed, each in every transfer
syntax, an interrupted run goes on where it stopped, and what did not come is named.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pydicom import Dataset, dcmread
from pynetdicom import AllStoragePresentationContexts, build_context, build_role, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as StudyRootGet
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as StudyRootMove

from claimed_med.dicom.header import text
from claimed_med.dicom.net_node import (
    PENDING,
    SUCCESS,
    NoAssociationError,
    Node,
    association,
    check_uid,
    listener,
    lost,
)
from claimed_med.dicom.net_query import LEVELS, Level, Match, failed, find
from claimed_med.errors import InputError
from claimed_med.payload import PARTIAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

ATTEMPTS, PAUSE_S = 3, 1.0
LISTEN = ("127.0.0.1", 11113)
# Groups that share a context when there are too many, native first. Deflated objects are not asked for: they may
# unfold to any size.
SYNTAXES = (
    ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2"),
    ("1.2.840.10008.1.2.4.90",),
    ("1.2.840.10008.1.2.4.70",),
    ("1.2.840.10008.1.2.4.80",),
    ("1.2.840.10008.1.2.5",),
    ("1.2.840.10008.1.2.4.50",),
    ("1.2.840.10008.1.2.4.91",),
    ("1.2.840.10008.1.2.4.57",),
    ("1.2.840.10008.1.2.4.81",),
    ("1.2.840.10008.1.2.4.51",),
    ("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"),
    ("1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.103", "1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.101"),
    ("1.2.840.10008.1.2.2",),
)
# Storage SOP classes (PS3.4 table B.5-1) below this root: proposed where the node cannot say what a study holds
_ROOT = "1.2.840.10008.5.1.4.1.1."
_USUAL = """
    1 1.1 1.1.1 1.2 1.2.1 1.3 1.3.1 2 2.1 2.2 3.1 4 4.1 4.2 4.3 4.4 6.1 6.2 7 7.1 7.2 7.3 7.4 9.1.1 9.1.2 11.1 11.2
    12.1 12.1.1 12.2 12.2.1 13.1.1 13.1.2 13.1.3 13.1.4 13.1.5 14.1 14.2 20 30 66 66.1 66.2 66.3 66.4 66.5 66.6 66.7 67
    77.1.1 77.1.1.1 77.1.2 77.1.2.1 77.1.4 77.1.4.1 77.1.5.1 77.1.5.2 77.1.5.4 77.1.6 88.11 88.22 88.33 88.34 88.35
    88.40 88.50 88.59 88.65 88.67 88.68 88.69 104.1 104.2 104.3 128 128.1 130 131
    481.1 481.2 481.3 481.4 481.5 481.6 481.7 481.8 481.9
""".split()
_MOST_STORAGE_CONTEXTS = 127
_MISMATCH, _OUT_OF_RESOURCES, _CANNOT_UNDERSTAND = 0xA900, 0xA700, 0xC000


@dataclass(frozen=True)
class Retrieved:
    """What was fetched.

    Attributes:
        files: The files of the studies, sorted; those of an earlier run included.
        n_expected: Instances that the node says it holds; -1 where it cannot say.
        missing: SOPInstanceUIDs that did not come, sorted.
        n_refused: Objects that we refused since they were not asked for or contradict themselves.
    """

    files: tuple[Path, ...]
    n_expected: int
    missing: tuple[str, ...]
    n_refused: int


@dataclass
class _Inbox:
    """Where objects arrive; used by several threads at once."""

    folder: Path
    studies: frozenset[str]
    received: set[str] = field(default_factory=set)
    refused: int = 0
    full: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, event: Any) -> int:
        """Write one object durably before success is answered; returns the status."""
        try:
            uid = check_uid(event.request.AffectedSOPInstanceUID)
            content = event.encoded_dataset()
            header = dcmread(BytesIO(content), specific_tags=["SOPInstanceUID", "StudyInstanceUID"])
            fits = text(header, "SOPInstanceUID") == uid and text(header, "StudyInstanceUID") in self.studies
        except Exception:  # noqa: BLE001 - what a peer sends may fail in every way
            return self._refuse(_CANNOT_UNDERSTAND)
        if not fits:
            return self._refuse(_MISMATCH)
        try:
            self._write(uid, content)
        except OSError:
            self.full = True
            return _OUT_OF_RESOURCES
        with self._lock:
            self.received.add(uid)
        return SUCCESS

    def _refuse(self, status: int) -> int:
        with self._lock:
            self.refused += 1
        return status

    def _write(self, uid: str, content: bytes) -> None:
        partial = self.folder / f"{PARTIAL}{uid}-{threading.get_ident()}"
        try:
            with partial.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(self.folder / f"{uid}.dcm")
        finally:
            partial.unlink(missing_ok=True)


def get(
    node: Node, study_uids: Iterable[str], folder: Path, *, attempts: int = ATTEMPTS, pause_s: float = PAUSE_S
) -> Retrieved:
    """Fetch studies over our own association (C-GET), so no port of ours need be open.

    Args:
        node: Where from.
        study_uids: StudyInstanceUIDs.
        folder: Gets `<SOPInstanceUID>.dcm`; files that are there already are not fetched again.
        attempts: Most tries in a row in which nothing new comes.
        pause_s: Before the second try, doubled each time [s].

    Raises:
        InputError: The node does not know a study, refuses, or does not let go of anything; the folder is not writable.
        NoAssociationError: There is no association, after all tries.
    """
    inbox = _inbox(study_uids, folder)

    def ask(identifier: Dataset, classes: Sequence[str]) -> list[str]:
        contexts = [build_context(StudyRootGet), *_storage_contexts(classes, _MOST_STORAGE_CONTEXTS)]
        roles = [build_role(one, scp_role=True) for one in dict.fromkeys(one.abstract_syntax for one in contexts[1:])]
        handlers = [(evt.EVT_C_STORE, inbox.take)]
        with association(node, contexts, handlers=handlers, roles=roles) as opened:
            _expect_service(opened, StudyRootGet, "C-GET")
            return _outcome(opened.send_c_get(identifier, StudyRootGet), "C-GET")

    return _retrieve(node, inbox, ask, attempts, pause_s)


def move(
    node: Node,
    study_uids: Iterable[str],
    folder: Path,
    *,
    listen: tuple[str, int] = LISTEN,
    attempts: int = ATTEMPTS,
    pause_s: float = PAUSE_S,
) -> Retrieved:
    """Fetch studies by letting the node send them to us (C-MOVE); it must know our AE title, host and port.

    Our receiver lives as long as the call and takes objects of the wanted studies only.

    Args:
        node: Where from; `calling_aet` is the destination.
        study_uids: StudyInstanceUIDs.
        folder: Gets `<SOPInstanceUID>.dcm`; files that are there already are not fetched again.
        listen: Address to bind to (loopback unless told otherwise), and port.
        attempts: Most tries in a row in which nothing new comes.
        pause_s: Before the second try, doubled each time [s].

    Raises:
        InputError: As for `get`, or the port cannot be opened.
        NoAssociationError: There is no association, after all tries.
    """
    inbox = _inbox(study_uids, folder)
    every = [one for group in SYNTAXES for one in group]
    supported = [build_context(one.abstract_syntax, every) for one in AllStoragePresentationContexts]

    def ask(identifier: Dataset, classes: Sequence[str]) -> list[str]:
        del classes  # the receiver takes all
        with association(node, [build_context(StudyRootMove)]) as opened:
            return _outcome(opened.send_c_move(identifier, node.calling_aet, StudyRootMove), "C-MOVE")

    with listener(node, listen, supported, [(evt.EVT_C_STORE, inbox.take)]):
        return _retrieve(node, inbox, ask, attempts, pause_s)


def _inbox(study_uids: Iterable[str], folder: Path) -> _Inbox:
    studies = frozenset(check_uid(one) for one in study_uids)
    if not studies:
        raise InputError("network", "no study was named", do="give one StudyInstanceUID at least")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("network", "the folder cannot be made", got=type(error).__name__) from None
    return _Inbox(folder, studies)


def _retrieve(
    node: Node,
    inbox: _Inbox,
    ask: Callable[[Dataset, Sequence[str]], list[str]],
    attempts: int,
    pause_s: float,
) -> Retrieved:
    expected: dict[str, Match] = {}
    missing: set[str] = set()
    unknown = False
    for study in sorted(inbox.studies):
        held = _held(node, study)
        if held is not None and not held:
            raise InputError("network", "the node holds no such study", got=study)
        unknown = unknown or held is None
        expected.update(held or {})
        inbox.received.update(uid for uid in held or () if (inbox.folder / f"{uid}.dcm").is_file())
        missing.update(_fetch(inbox, study, held, ask, attempts, pause_s))
    return Retrieved(
        tuple(inbox.folder / f"{uid}.dcm" for uid in sorted(inbox.received)),
        -1 if unknown else len(expected),
        tuple(sorted(missing)),
        inbox.refused,
    )


def _held(node: Node, study: str) -> dict[str, Match] | None:
    """What the node says that it holds of a study; None where it cannot say."""
    try:
        series = [one.series_uid for one in find(node, {"StudyInstanceUID": study}, "series")]
        return {
            one.instance_uid: one
            for uid in series
            for one in find(node, {"StudyInstanceUID": study, "SeriesInstanceUID": uid}, "instance")
        }
    except NoAssociationError as error:
        if not error.permanent:
            raise
        return None  # no C-FIND here; whether it lets us in at all shows when we ask for the objects
    except InputError:
        return None


def _fetch(
    inbox: _Inbox,
    study: str,
    held: Mapping[str, Match] | None,
    ask: Callable[[Dataset, Sequence[str]], list[str]],
    attempts: int,
    pause_s: float,
) -> set[str]:
    """Ask for a study until all is there or nothing new comes; returns what is missing."""
    tries, told = 0, {""} if held is None else set(held)
    trouble: InputError | None = None
    while (missing := {uid for uid in told if uid not in inbox.received}) and tries < attempts:
        if tries:
            time.sleep(pause_s * 2 ** (tries - 1))
        before = len(inbox.received)
        try:
            for identifier, classes in _requests(study, held, inbox.received):
                failures = ask(identifier, classes)
                told = set(failures) if held is None else told
            trouble = None
        except NoAssociationError as error:
            if error.permanent:
                raise
            trouble = error
        except InputError as error:
            trouble = error
        if inbox.full:
            raise InputError(
                "network", "an object could not be written", do="check free space and rights of the folder"
            )
        tries = tries + 1 if len(inbox.received) == before else 1
    if trouble is not None and (held is None or missing):
        raise trouble
    return missing


def _requests(
    study: str, held: Mapping[str, Match] | None, received: set[str]
) -> Iterator[tuple[Dataset, Sequence[str]]]:
    """The whole study, or the series of which something is missing."""
    if held is None or not any(uid in received for uid in held):
        classes = sorted({one.sop_class_uid for one in (held or {}).values()} - {""})
        yield _identifier("study", StudyInstanceUID=study), classes
        return
    lacking: dict[str, set[str]] = {}
    for uid, one in held.items():
        if uid not in received:
            lacking.setdefault(one.series_uid, set()).add(one.sop_class_uid)
    for series, found in sorted(lacking.items()):
        yield _identifier("series", StudyInstanceUID=study, SeriesInstanceUID=series), sorted(found - {""})


def _identifier(level: Level, **uids: str) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = LEVELS[level]
    for keyword, uid in uids.items():
        setattr(identifier, keyword, uid)
    return identifier


def _storage_contexts(classes: Sequence[str], most: int) -> list[Any]:
    """Every SOP class in every transfer syntax, one a context as far as `most` allows."""
    asked = (list(classes) or [_ROOT + one for one in _USUAL])[:most]
    groups = min(len(SYNTAXES), most // len(asked))
    rest = [one for group in SYNTAXES[groups - 1 :] for one in group]
    split = [list(group) for group in SYNTAXES[: groups - 1]] + [rest]
    return [build_context(sop_class, group) for sop_class in asked for group in split]


def _expect_service(opened: Any, service: str, name: str) -> None:
    if not any(one.abstract_syntax == service for one in opened.accepted_contexts):
        raise InputError("network", f"the node does not offer {name}", do="try the other method of retrieval")


def _outcome(responses: Iterable[tuple[Dataset, Dataset | None]], service: str) -> list[str]:
    """The instances that the node says it failed to send.

    Raises:
        InputError: It refuses altogether.
        NoAssociationError: It fell silent.
    """
    for status, identifier in responses:
        if "Status" not in status:
            break
        if status.Status in PENDING:
            continue
        if status.Status == SUCCESS:
            return []
        if status.Status == 0xB000:  # some of them failed
            failures = text(identifier or Dataset(), "FailedSOPInstanceUIDList").split("\\")
            return [check_uid(one) for one in failures if one]
        raise failed(service, status.Status)
    raise lost(service)
