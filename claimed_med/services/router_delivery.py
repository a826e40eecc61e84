"""Bring objects to their destinations: ask what is there, send the rest, take down what became of each.

The destination is asked before anything goes out, so that after a kill nothing that it has is sent again, and once more
at the end: an object counts as stored when the destination says that it has it, not when it said that it took it (where
it can be asked). That an object is about to go out is on the disk before it does: every repeat is counted.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from claimed_med.dicom.header import NotReadable, open_instance, text
from claimed_med.dicom.net_node import NoAssociationError, Node
from claimed_med.dicom.net_query import find
from claimed_med.dicom.net_send import send
from claimed_med.dicom.web import FAILED, Archive, Patience, is_uid
from claimed_med.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from claimed_med.services.router_rules import Destination
    from claimed_med.services.router_state import State

BATCH_SIZE = 25
_ONCE = Patience(attempts=1)  # the router has its own pauses, and every repeat is to be counted
_SHOWN = 3
_REFUSAL = re.compile("0x(?!A7)[0-9A-F]{4}")  # a status of the node, but for those that tell of a lack of resources
_NOT_FOUND = "it was taken, but is not found there"


class Undelivered(Exception):  # noqa: N818 - an outcome that is handed over, not raised at the user
    """Some objects are not at their destination.

    Args:
        reason: Why.
        refused: Whether the destination answered, and said no; else a later try may find it in a better mood.
    """

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.refused = refused


@dataclass(frozen=True)
class Outgoing:
    """One object to send.

    Attributes:
        path: Its file.
        sop_uid: SOPInstanceUID.
        series_uid: SeriesInstanceUID.
        study_uid: StudyInstanceUID; of a result, it may be another one than that of the study that came in.
    """

    path: Path
    sop_uid: str
    series_uid: str
    study_uid: str


class Door(Protocol):
    """A way to a destination."""

    def present(self, objects: Sequence[Outgoing]) -> set[str] | None:
        """SOPInstanceUIDs that are there; None when the destination cannot be asked.

        Raises:
            ClaimedMedError: It does not answer.
        """
        ...

    def send(self, objects: Sequence[Outgoing]) -> dict[str, str]:
        """Send objects, each once; SOPInstanceUID -> '' when it is there, else why not."""
        ...


class Web:
    """A DICOMweb service."""

    def __init__(self, url: str) -> None:
        self.url = url

    def present(self, objects: Sequence[Outgoing]) -> set[str] | None:
        """As `Door.present`."""
        found: set[str] = set()
        with Archive(self.url, patience=_ONCE) as archive:
            for uid in sorted({one.study_uid for one in objects if is_uid(one.study_uid)}):
                try:
                    found |= set(archive.instances(uid))
                except InputError as error:
                    if not str(error.got).startswith("HTTP status"):
                        raise  # it does not answer; a service without QIDO-RS answers with a status
                    return None
        return found

    def send(self, objects: Sequence[Outgoing]) -> dict[str, str]:
        """As `Door.send`."""
        with Archive(self.url, n_connections=1, patience=_ONCE) as archive:
            results = archive.store([one.path for one in objects])
        told = {one.sop_uid: (one.reason or "no reason given") if one.status == FAILED else "" for one in results}
        return {one.sop_uid: told.get(one.sop_uid, "it could not be read") for one in objects}


class Dimse:
    """A node of the DICOM network."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def present(self, objects: Sequence[Outgoing]) -> set[str] | None:
        """As `Door.present`; a node without C-FIND cannot be asked."""
        found: set[str] = set()
        for study_uid, series_uid in sorted({(one.study_uid, one.series_uid) for one in objects}):
            place = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid}
            try:
                found |= {one.instance_uid for one in find(self.node, place, "instance")}
            except NoAssociationError as error:
                if not error.permanent:
                    raise
                return None
            except InputError:
                return None
        return found

    def send(self, objects: Sequence[Outgoing]) -> dict[str, str]:
        """As `Door.send`."""
        results = send(self.node, [one.path for one in objects], attempts=1)
        return {
            one.sop_uid: "" if result.outcome == "stored" else result.reason or "no answer"
            for one, result in zip(objects, results, strict=True)
        }


def door(destination: Destination) -> Door:
    """The way to a destination of the rules."""
    if destination.url:
        return Web(destination.url)
    return Dimse(Node.parse(destination.node, calling_aet=destination.aet))


def outgoing(paths: Iterable[Path]) -> list[Outgoing]:
    """The DICOM objects among files; of a repeated SOPInstanceUID the first."""
    found: dict[str, Outgoing] = {}
    for path in paths:
        try:
            seen = open_instance(path)
        except NotReadable:
            continue
        study_uid, series_uid = (text(seen.dataset, f"{level}InstanceUID") for level in ("Study", "Series"))
        found.setdefault(seen.sop_uid, Outgoing(path, seen.sop_uid, series_uid, study_uid))
    return list(found.values())


def deliver(
    state: State, study_uid: str, destination: Destination, objects: Sequence[Outgoing], stopping: Callable[[], bool]
) -> None:
    """Bring objects to a destination.

    Args:
        state: Knows what is there, and is told.
        study_uid: The study that came in, to whose account they go.
        destination: Where to.
        objects: What to bring; what is known to be there is left out.
        stopping: Whether to end before the next batch.

    Raises:
        Undelivered: Not all are there.
        ClaimedMedError: The destination does not answer.
    """
    sends = state.open_deliveries(study_uid, destination.name, [one.sop_uid for one in objects])
    left = [one for one in objects if one.sop_uid in sends]
    if not left:
        return
    way = door(destination)
    there = way.present(left)
    if there:
        state.sent(study_uid, destination.name, {one.sop_uid: "" for one in left if one.sop_uid in there})
    failures: dict[str, str] = {}
    taken: list[Outgoing] = []
    for batch in _batches([one for one in left if one.sop_uid not in (there or ())]):
        if stopping():
            raise Undelivered("the router is stopping")
        state.sending(study_uid, destination.name, [one.sop_uid for one in batch])
        outcomes = way.send(batch)
        failures |= {uid: why for uid, why in outcomes.items() if why}
        taken += [one for one in batch if not outcomes[one.sop_uid]]
        if there is None:  # there will be no second question, so that this is all that can be known
            state.sent(study_uid, destination.name, outcomes)
    state.sent(study_uid, destination.name, failures)
    failures |= _confirm(state, study_uid, destination, way, taken)
    if failures:
        reasons = ", ".join(sorted(set(failures.values()))[:_SHOWN])
        refused = all(_REFUSAL.search(why) for why in failures.values())
        raise Undelivered(f"{len(failures)} of {len(objects)} objects are not there: {reasons}", refused=refused)


def _confirm(
    state: State, study_uid: str, destination: Destination, way: Door, taken: Sequence[Outgoing]
) -> dict[str, str]:
    """Ask for what a destination took; SOPInstanceUID -> reason, of what it does not have all the same."""
    there = way.present(taken) if taken else None
    outcomes = {one.sop_uid: "" if there is None or one.sop_uid in there else _NOT_FOUND for one in taken}
    state.sent(study_uid, destination.name, outcomes)
    return {uid: why for uid, why in outcomes.items() if why}


def _batches(objects: Sequence[Outgoing]) -> list[list[Outgoing]]:
    """Split by series, then by size."""
    series: dict[tuple[str, str], list[Outgoing]] = defaultdict(list)
    for one in objects:
        series[one.study_uid, one.series_uid].append(one)
    ordered: list[Any] = [one for key in sorted(series) for one in sorted(series[key], key=lambda one: one.sop_uid)]
    return [ordered[start : start + BATCH_SIZE] for start in range(0, len(ordered), BATCH_SIZE)]
