"""Command sets of DIMSE messages (PS3.7): always implicit VR little endian, a dozen elements each."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from claimed_med.services.pdu import ProtocolError

C_STORE, C_ECHO, N_EVENT_REPORT, N_ACTION, C_CANCEL = 0x0001, 0x0030, 0x0100, 0x0130, 0x0FFF
RESPONSE = 0x8000
# statuses, PS3.7 annex C and PS3.4 table B.2-1
SUCCESS = 0x0000
NO_SUCH_CLASS, PROCESSING_FAILURE, UNRECOGNISED_OPERATION = 0x0122, 0x0110, 0x0211
OUT_OF_RESOURCES, MISMATCH, CANNOT_UNDERSTAND = 0xA700, 0xA900, 0xC000
TOO_LARGE = 0xC001
_NO_DATA_SET, _DATA_SET = 0x0101, 0x0001
_ELEMENT = struct.Struct("<HHI")
_SHORT = struct.Struct("<H")
_CLASS, _OTHER_CLASS, _FIELD, _MESSAGE, _ANSWERED, _HAS_DATA = 0x0002, 0x0003, 0x0100, 0x0110, 0x0120, 0x0800
_STATUS, _COMMENT, _INSTANCE, _OTHER_INSTANCE, _EVENT_TYPE, _ACTION_TYPE = (
    0x0900,
    0x0902,
    0x1000,
    0x1001,
    0x1002,
    0x1008,
)
_LONGEST_COMMENT = 64


@dataclass(frozen=True)
class Command:
    """A request, or a response, of a peer.

    Attributes:
        field: Command field.
        message: Message ID; that of the answered request in a response.
        sop_class: Affected or requested SOP class UID.
        instance: Affected or requested SOP instance UID; anything a peer may write, so never a file name.
        has_data: Whether a data set follows.
        action: Action type ID, 0 where there is none.
    """

    field: int
    message: int
    sop_class: str
    instance: str
    has_data: bool
    action: int = 0

    @property
    def expects_nothing(self) -> bool:
        """Whether it is an answer itself, or the cancellation of what is over."""
        return bool(self.field & RESPONSE) or self.field == C_CANCEL


def decoded(data: bytes) -> Command:
    """Read a command set.

    Raises:
        ProtocolError: It is none.
    """
    found: dict[int, bytes] = {}
    place = 0
    while place < len(data):
        if place + _ELEMENT.size > len(data):
            raise ProtocolError("a command set is cut off")
        group, element, length = _ELEMENT.unpack_from(data, place)
        place += _ELEMENT.size
        if group != 0 or place + length > len(data):
            raise ProtocolError("a command set is damaged")
        found[element] = data[place : place + length]
        place += length
    if _FIELD not in found:
        raise ProtocolError("a command set has no command field")
    return Command(
        field=_number(found, _FIELD),
        message=_number(found, _MESSAGE) or _number(found, _ANSWERED),
        sop_class=_text(found, _CLASS) or _text(found, _OTHER_CLASS),
        instance=_text(found, _INSTANCE) or _text(found, _OTHER_INSTANCE),
        has_data=_number(found, _HAS_DATA) != _NO_DATA_SET,
        action=_number(found, _ACTION_TYPE),
    )


def response(request: Command, status: int, comment: str = "") -> bytes:
    """The command set that answers a request, without a data set."""
    elements = [
        _uid(_CLASS, request.sop_class),
        _us(_FIELD, request.field | RESPONSE),
        _us(_ANSWERED, request.message),
        _us(_HAS_DATA, _NO_DATA_SET),
        _us(_STATUS, status),
        _element(_COMMENT, _even(comment[:_LONGEST_COMMENT].encode("ascii", "replace"), b" ")) if comment else b"",
        _uid(_INSTANCE, request.instance) if request.field != C_ECHO else b"",
        _us(_ACTION_TYPE, request.action) if request.field == N_ACTION else b"",
    ]
    return _grouped(elements)


def event_report(message: int, sop_class: str, instance: str, event_type: int) -> bytes:
    """The command set of an N-EVENT-REPORT-RQ that a data set follows."""
    return _grouped(
        [
            _uid(_CLASS, sop_class),
            _us(_FIELD, N_EVENT_REPORT),
            _us(_MESSAGE, message),
            _us(_HAS_DATA, _DATA_SET),
            _uid(_INSTANCE, instance),
            _us(_EVENT_TYPE, event_type),
        ]
    )


def _grouped(elements: list[bytes]) -> bytes:
    body = b"".join(elements)
    return _element(0x0000, struct.pack("<I", len(body))) + body


def _element(element: int, value: bytes) -> bytes:
    return _ELEMENT.pack(0, element, len(value)) + value


def _uid(element: int, text: str) -> bytes:
    return _element(element, _even(text.encode("latin-1"), b"\0")) if text else b""


def _us(element: int, value: int) -> bytes:
    return _element(element, _SHORT.pack(value))


def _even(value: bytes, padding: bytes) -> bytes:
    return value + padding if len(value) % 2 else value


def _text(found: dict[int, bytes], element: int) -> str:
    return found.get(element, b"").decode("latin-1").rstrip("\0 ")


def _number(found: dict[int, bytes], element: int) -> int:
    value = found.get(element, b"")
    return int(_SHORT.unpack(value)[0]) if len(value) == _SHORT.size else 0
