"""C-STORE: send files to a node, each as it lies on the disk where the node takes it so."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydicom import Dataset, dcmread
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import build_context

from claimed_med.dicom.header import Instance, NotReadable, open_instance, text
from claimed_med.dicom.net_node import SUCCESS, NoAssociationError, Node, association, check_uid, lost
from claimed_med.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

ATTEMPTS, PAUSE_S = 3, 1.0
LOSSLESS = frozenset(
    {
        HTJ2KLossless,
        HTJ2KLosslessRPCL,
        JPEG2000Lossless,
        JPEGLSLossless,
        JPEGLossless,
        JPEGLosslessSV1,
        RLELossless,
    }
)
_PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_MOST_CONTEXTS = 128
# PS3.4 table B.2-1, PS3.7 annex C: the object is in the archive after these
_STORED = {
    SUCCESS: "",
    0x0111: "already stored",
    0xB000: "elements were coerced",
    0xB006: "elements were discarded",
    0xB007: "does not match its SOP class",
}
_FULL = range(0xA700, 0xA800)


@dataclass(frozen=True)
class Sent:
    """What became of one file.

    Attributes:
        path: The file; never logged.
        sop_uid: Its SOPInstanceUID, '' when it has none that is valid.
        sop_class_uid: Its SOPClassUID.
        outcome: `stored`, or `failed`.
        status: Status of the node's last answer, -1 without an answer.
        reason: Why it failed, or what the node did to it.
    """

    path: Path
    sop_uid: str
    sop_class_uid: str
    outcome: Literal["stored", "failed"]
    status: int = -1
    reason: str = ""


@dataclass
class _Item:
    """A file on its way."""

    number: int
    path: Path
    sop_class: UID
    sop_uid: str
    syntax: UID
    as_is: bool  # the file meta information is complete and right
    status: int = -1
    reason: str = ""

    def ended(self, outcome: Literal["stored", "failed"]) -> Sent:
        return Sent(self.path, self.sop_uid, str(self.sop_class), outcome, self.status, self.reason)


class _NotSendableError(Exception):
    """The node takes no form of this object that can be made without loss; carries the reason."""


def send(
    node: Node,
    paths: Sequence[Path],
    *,
    attempts: int = ATTEMPTS,
    pause_s: float = PAUSE_S,
    each: Callable[[Sent], None] | None = None,
) -> list[Sent]:
    """Send files (C-STORE). One that the node refuses never stops the others.

    Every file goes out byte for byte in its transfer syntax where the node accepts that. Where it does not, native
    data sets are rewritten, and losslessly compressed ones decompressed; nothing is ever compressed or made lossy.
    A lost association, a node that is congested and one that is short of resources are tried again, with twice the
    pause each time; tries count from the last object that got through.

    Args:
        node: Where to.
        paths: DICOM files.
        attempts: Most tries in a row without any object getting through.
        pause_s: Before the second try [s].
        each: Called with every result as soon as it is final.

    Returns:
        One result a file, in the order of `paths`. Whether a node could not be reached stands there too.

    Raises:
        InputError: The TLS files cannot be used.
    """
    results: dict[int, Sent] = {}

    def note(number: int, result: Sent) -> None:
        results[number] = result
        if each is not None:
            each(result)

    waiting: list[_Item] = []
    for number, path in enumerate(paths):
        seen = _inspect(number, path)
        if isinstance(seen, Sent):
            note(number, seen)
        else:
            waiting.append(seen)
    tries = 0
    while waiting and tries < attempts:
        if tries:
            time.sleep(pause_s * 2 ** (tries - 1))
        before = len(results)
        for batch in _batches(waiting):
            for item, outcome in _pass(node, batch):
                note(item.number, item.ended(outcome))
        tries = tries + 1 if len(results) == before else 1
        waiting = [item for item in waiting if item.number not in results]
    for item in waiting:
        note(item.number, item.ended("failed"))
    return [results[number] for number in range(len(paths))]


def _inspect(number: int, path: Path) -> _Item | Sent:
    try:
        seen = open_instance(path)
    except NotReadable as error:
        return Sent(path, "", "", "failed", reason=error.finding.name)
    sop_class = text(seen.dataset, "SOPClassUID")
    try:
        sop_uid = check_uid(seen.sop_uid)
        check_uid(sop_class)
    except InputError:
        return Sent(path, "", "", "failed", reason="its SOP class or instance UID is none")
    return _Item(number, path, UID(sop_class), sop_uid, seen.syntax, _complete(seen, sop_class, sop_uid))


def _complete(seen: Instance, sop_class: str, sop_uid: str) -> bool:
    """Whether the file meta information says what the data set says, so that the bytes can go out as they are."""
    meta = getattr(seen.dataset, "file_meta", None) or Dataset()
    told = (text(meta, "MediaStorageSOPClassUID"), text(meta, "MediaStorageSOPInstanceUID"))
    return told == (sop_class, sop_uid) and text(meta, "TransferSyntaxUID") == str(seen.syntax)


def _batches(items: Sequence[_Item]) -> Iterator[list[_Item]]:
    """Split files so that the presentation contexts of each part fit into one association."""
    syntaxes: dict[UID, set[UID]] = {}
    for item in items:
        syntaxes.setdefault(item.sop_class, set(_PLAIN)).add(item.syntax)
    classes: set[UID] = set()
    count = 0
    for sop_class, needed in syntaxes.items():
        if count + len(needed) > _MOST_CONTEXTS:
            yield [item for item in items if item.sop_class in classes]
            classes, count = set(), 0
        classes.add(sop_class)
        count += len(needed)
    yield [item for item in items if item.sop_class in classes]


def _pass(node: Node, batch: Sequence[_Item]) -> Iterator[tuple[_Item, Literal["stored", "failed"]]]:
    """Try every file of a batch once; what is not yielded may be tried again."""
    wanted = dict.fromkeys((one.sop_class, syntax) for one in batch for syntax in (one.syntax, *_PLAIN))
    done: set[int] = set()
    try:
        with association(node, [build_context(sop_class, syntax) for sop_class, syntax in wanted]) as opened:
            accepted = {(one.abstract_syntax, one.transfer_syntax[0]) for one in opened.accepted_contexts}
            for item in batch:
                outcome = _store(opened, item, accepted)
                if outcome in {"stored", "failed"}:
                    done.add(item.number)
                    yield item, outcome
                if outcome == "lost" or not opened.is_established:
                    raise lost("C-STORE")
    except NoAssociationError as error:
        for item in batch:
            if item.number not in done:
                item.reason = error.what
                if error.permanent:
                    yield item, "failed"


def _store(opened: Any, item: _Item, accepted: set[tuple[UID, UID]]) -> Literal["stored", "failed", "full", "lost"]:
    """Send one file; `full`: the node is short of resources, `lost`: the association broke on it."""
    try:
        form = _form(item, accepted)
    except _NotSendableError as error:
        item.reason = str(error)
        return "failed"
    try:
        answer = opened.send_c_store(form)
    except Exception as error:  # noqa: BLE001 - data that cannot be encoded fail in every way; the others go on
        if not opened.is_established:
            return "lost"
        opened.abort()  # the message may be half on its way
        item.reason = f"the file could not be sent ({type(error).__name__})"
        return "failed"
    if "Status" not in answer:  # pynetdicom may not know yet that the association is no more
        return "lost"
    item.status = int(answer.Status)
    if item.status in _STORED:
        item.reason = _STORED[item.status]
        return "stored"
    item.reason = f"status 0x{item.status:04X}"
    return "full" if item.status in _FULL else "failed"


def _form(item: _Item, accepted: set[tuple[UID, UID]]) -> Path | Dataset:
    """The file itself, or a data set that the node takes instead."""
    exact = (item.sop_class, item.syntax) in accepted
    if exact and item.as_is:
        return item.path
    convertible = not item.syntax.is_compressed or item.syntax == DeflatedExplicitVRLittleEndian
    if not exact:
        if not any((item.sop_class, syntax) in accepted for syntax in _PLAIN):
            raise _NotSendableError("the node does not accept its SOP class")
        if not item.syntax.is_little_endian or (not convertible and item.syntax not in LOSSLESS):
            raise _NotSendableError("the node does not accept its transfer syntax, and it may not be changed")
    try:
        dataset = dcmread(item.path, force=True)
        if not exact and not convertible:
            dataset.decompress(as_rgb=False, generate_instance_uid=False)
    except Exception as error:  # noqa: BLE001 - damaged files and codecs fail in every way
        raise _NotSendableError(f"it cannot be read or decompressed ({type(error).__name__})") from None
    if not dataset.file_meta.get("TransferSyntaxUID"):
        dataset.file_meta.TransferSyntaxUID = item.syntax
    return dataset
