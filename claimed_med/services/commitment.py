"""Storage commitment (push model, SCP): tell a sender which objects are durable here, so that it may delete its own.

The report goes out on the association of the request, at once: an object is here or it is not.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from claimed_med.dicom.header import quiet, text
from claimed_med.errors import InputError
from claimed_med.services import dimse
from claimed_med.services.incoming import checked_uid
from claimed_med.services.storage import Answer

if TYPE_CHECKING:
    from claimed_med.services.association import Association, Context
    from claimed_med.services.incoming import Store

PUSH_MODEL, PUSH_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
SYNTAXES = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
_MOST_BYTES = 16 << 20
_REQUEST = 1
_NO_SUCH_ACTION, _NO_SUCH_OBJECT, _INVALID = 0x0123, 0x0112, 0x0115
_ALL_HERE, _SOME_MISSING = 1, 2


class Commitment:
    """The data set of an N-ACTION-RQ, and the report that follows the answer.

    Args:
        association: Where the report goes.
        store: What is here.
        request: The N-ACTION-RQ.
        context: Of the request.
    """

    def __init__(self, association: Association, store: Store, request: dimse.Command, context: Context) -> None:
        self._association, self._store, self._request, self._context = association, store, request, context
        self._data = bytearray()

    def write(self, fragment: memoryview) -> None:
        """Take the next bytes; what is too long is dropped, and refused at the end."""
        if len(self._data) <= _MOST_BYTES:
            self._data += fragment

    def drop(self) -> None:
        """Nothing is held."""

    def finish(self) -> Answer:
        """Answer, and have the report sent after the answer."""
        if self._request.action != _REQUEST or self._request.instance != PUSH_INSTANCE:
            return Answer(_NO_SUCH_ACTION)
        if len(self._data) > _MOST_BYTES:
            return Answer(dimse.PROCESSING_FAILURE, "too many objects in one request")
        implicit = self._context.transfer_syntax == SYNTAXES[1]
        try:
            with quiet():
                event_type, report = _report(self._store, bytes(self._data), implicit=implicit)
        except Exception:  # noqa: BLE001 - what a peer sends may fail in every way
            return Answer(_INVALID, "the request cannot be read")
        command = dimse.event_report(1, PUSH_MODEL, PUSH_INSTANCE, event_type)
        self._association.after.append(lambda: self._association.send_message(self._context, command, report))
        return Answer(dimse.SUCCESS)


def _report(store: Store, data: bytes, *, implicit: bool) -> tuple[int, bytes]:
    """Event type and data set of the report.

    Raises:
        InputError: The request names no transaction, or something that is no UID.
    """
    wanted = read_dataset(BytesIO(data), implicit, is_little_endian=True)
    told = Dataset()
    told.TransactionUID = checked_uid(text(wanted, "TransactionUID"))
    asked = [(text(one, "ReferencedSOPClassUID"), text(one, "ReferencedSOPInstanceUID")) for one in _items(wanted)]
    held = store.held({checked_uid(uid) for _, uid in asked})
    here = [_reference(*one) for one in asked if one[1] in held]
    missing = [_reference(*one, reason=_NO_SUCH_OBJECT) for one in asked if one[1] not in held]
    if here:
        told.ReferencedSOPSequence = here
    if missing:
        told.FailedSOPSequence = missing
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, implicit
    write_dataset(buffer, told)
    return (_SOME_MISSING if missing else _ALL_HERE), buffer.getvalue()


def _items(wanted: Dataset) -> list[Dataset]:
    found = list(wanted.get("ReferencedSOPSequence") or ())
    if not found:
        raise InputError("receiver", "a request for storage commitment names no object")
    return found


def _reference(sop_class: str, sop_uid: str, *, reason: int = 0) -> Dataset:
    made = Dataset()
    made.ReferencedSOPClassUID, made.ReferencedSOPInstanceUID = sop_class, sop_uid
    if reason:
        made.FailureReason = reason
    return made
