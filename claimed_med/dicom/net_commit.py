"""Storage commitment (push model): ask a node to vouch for objects, so that the sender may delete its own."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import build_context, evt
from pynetdicom.dimse_messages import N_EVENT_REPORT_RSP
from pynetdicom.sop_class import StorageCommitmentPushModel as PushModel
from pynetdicom.sop_class import StorageCommitmentPushModelInstance as PushInstance
from pynetdicom.sop_class import Verification

from claimed_med.dicom.header import text, whole
from claimed_med.dicom.net_node import SUCCESS, Node, association, check_uid, listener, lost
from claimed_med.dicom.net_query import failed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TIMEOUT_S = 60.0
COMMITTED, UNANSWERED = "committed", "unanswered"
_REQUEST = 1
_UNRECOGNISED = 0x0110


@dataclass
class _Ledger:
    """What the node answers; filled by other threads.

    pynetdicom reads a report on a thread of its own, beside the association. Who releases the association once the
    report is read, but before our answer to it has left, leaves the node without that answer.
    """

    transaction: str
    outcome: dict[str, str]
    ended: threading.Event = field(default_factory=threading.Event)  # the report is read, and our answer has left
    _read: bool = False
    _answering: bool = False

    def handlers(self) -> list[tuple[Any, Callable[[Any], Any]]]:
        """Event handlers of pynetdicom for every association on which the report may come."""
        return [
            (evt.EVT_N_EVENT_REPORT, self.take),
            (evt.EVT_DIMSE_SENT, self._note_answer),
            (evt.EVT_PDU_SENT, self._note_sent),
        ]

    def take(self, event: Any) -> tuple[int, Dataset | None]:
        """Note an N-EVENT-REPORT; returns the status."""
        try:
            told = event.event_information
            if text(told, "TransactionUID") != self.transaction:
                return _UNRECOGNISED, None
            for item in told.get("ReferencedSOPSequence") or ():
                self._note(item, COMMITTED)
            for item in told.get("FailedSOPSequence") or ():
                self._note(item, f"failed (0x{whole(item, 'FailureReason'):04X})")
        except Exception:  # noqa: BLE001 - what a peer sends may fail in every way
            return _UNRECOGNISED, None
        self._read = True
        return SUCCESS, None

    def _note_answer(self, event: Any) -> None:
        if self._read and isinstance(event.message, N_EVENT_REPORT_RSP):
            self._answering = True  # it is one PDU, and the next to go out

    def _note_sent(self, _event: Any) -> None:
        if self._answering:
            self.ended.set()

    def _note(self, item: Dataset, words: str) -> None:
        uid = text(item, "ReferencedSOPInstanceUID")
        if uid in self.outcome:
            self.outcome[uid] = words


def commit(
    node: Node,
    instances: Sequence[tuple[str, str]],
    *,
    listen: tuple[str, int] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> dict[str, str]:
    """Ask a node to commit to the storage of objects (N-ACTION), and wait for its report (N-EVENT-REPORT).

    Args:
        node: Who shall vouch.
        instances: (SOPClassUID, SOPInstanceUID) of each object.
        listen: Address to bind to and port, for nodes that report on an association of their own; they must know our
            AE title, host and port. None: the report comes on ours.
        timeout_s: Longest wait for the report [s].

    Returns:
        SOPInstanceUID -> `committed`, `failed (0x....)` with the failure reason, or `unanswered`.

    Raises:
        InputError: The node refuses the request, or the port cannot be opened.
        NoAssociationError: There is no association, or no answer to the request.
    """
    if not instances:
        return {}
    ledger = _Ledger(str(generate_uid(prefix=None)), {check_uid(uid): UNANSWERED for _, uid in instances})
    handlers = ledger.handlers()
    # the node's own association has us as SCU though it opens it
    supported = [build_context(PushModel), build_context(Verification)]
    supported[0].scu_role, supported[0].scp_role = True, True
    receiver = listener(node, listen, supported, handlers) if listen else nullcontext(0)
    with receiver, association(node, [build_context(PushModel)], handlers=handlers) as opened:
        answer, _ = opened.send_n_action(_wanted(ledger.transaction, instances), _REQUEST, PushModel, PushInstance)
        if "Status" not in answer:
            raise lost("the request for storage commitment")
        if answer.Status != SUCCESS:
            raise failed("the request for storage commitment", answer.Status)
        _wait(ledger, opened, timeout_s, elsewhere=listen is not None)
    return dict(ledger.outcome)


def _wanted(transaction: str, instances: Sequence[tuple[str, str]]) -> Dataset:
    wanted = Dataset()
    wanted.TransactionUID = transaction
    wanted.ReferencedSOPSequence = [Dataset() for _ in instances]
    for item, (sop_class, sop_uid) in zip(wanted.ReferencedSOPSequence, instances, strict=True):
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_uid
    return wanted


def _wait(ledger: _Ledger, opened: Any, timeout_s: float, *, elsewhere: bool) -> None:
    """Wait until the report is read and answered, and no longer than it can still come."""
    until = time.monotonic() + timeout_s
    while not ledger.ended.wait(0.1) and time.monotonic() < until:
        if not elsewhere and not opened.is_established:
            return
