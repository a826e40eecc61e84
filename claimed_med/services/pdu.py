"""Protocol data units of PS3.8 section 9.3: bytes to records and back. Knows no socket and no policy."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from claimed_med.dicom.uid import IMPLEMENTATION_UID

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
HEADER = struct.Struct(">BxI")
# reasons of an abort by the service provider, PS3.8 table 9-26
UNRECOGNISED_PDU, UNEXPECTED_PDU, INVALID_VALUE = 1, 2, 6
UNSPECIFIED = 0
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
ACCEPTED, NO_ABSTRACT_SYNTAX, NO_TRANSFER_SYNTAX = 0, 3, 4
_VERSION_NAME = b"CLAIMED_MED"
_FIXED, _ITEM, _PDV = struct.Struct(">HH16s16s32s"), struct.Struct(">BxH"), struct.Struct(">IBB")
_LONGEST_UID = 64
_MOST_CONTEXTS = 128


class ProtocolError(Exception):
    """What a peer sent is no DICOM upper layer protocol.

    Args:
        what: For the log; holds nothing that the peer sent.
        reason: Of the A-ABORT that answers it.
    """

    def __init__(self, what: str, reason: int = INVALID_VALUE) -> None:
        super().__init__(what)
        self.reason = reason


@dataclass(frozen=True)
class Proposal:
    """A presentation context as proposed."""

    number: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True)
class AssociateRequest:
    """An A-ASSOCIATE-RQ.

    Attributes:
        version: Bits of the protocol versions.
        called: Called AE title without padding.
        calling: Calling AE title without padding.
        fixed: The titles and reserved bytes as they came; the answer repeats them.
        application: Application context.
        proposals: Presentation contexts.
        max_pdu: Longest P-DATA-TF body that the peer takes; 0: any.
    """

    version: int
    called: str
    calling: str
    fixed: tuple[bytes, bytes, bytes]
    application: str
    proposals: tuple[Proposal, ...]
    max_pdu: int


def associate_request(body: bytes) -> AssociateRequest:
    """Read the body of an A-ASSOCIATE-RQ.

    Raises:
        ProtocolError: It is none.
    """
    if len(body) < _FIXED.size:
        raise ProtocolError("the association request is too short")
    version, _, *fixed = _FIXED.unpack_from(body)
    application, proposals, max_pdu = "", [], 0
    for kind, content in _items(body, _FIXED.size):
        if kind == 0x10:
            application = _uid(content)
        elif kind == 0x20:
            proposals.append(_proposal(content))
        elif kind == 0x50:
            max_pdu = _max_pdu(content)
    numbers = {one.number for one in proposals}
    if len(numbers) != len(proposals) or len(numbers) > _MOST_CONTEXTS or any(one % 2 == 0 for one in numbers):
        raise ProtocolError("the presentation contexts are not numbered as they should be")
    called, calling = (title.decode("latin-1").strip(" \0") for title in fixed[:2])
    return AssociateRequest(version, called, calling, tuple(fixed), application, tuple(proposals), max_pdu)


def associate_accept(request: AssociateRequest, results: Mapping[int, tuple[int, str]], max_pdu: int) -> bytes:
    """An A-ASSOCIATE-AC.

    Args:
        request: What it answers.
        results: Number of the presentation context -> result and transfer syntax.
        max_pdu: Longest P-DATA-TF body that we take.
    """
    parts = [_FIXED.pack(1, 0, *request.fixed), _item(0x10, APPLICATION_CONTEXT.encode())]
    for number, (result, syntax) in results.items():
        parts.append(_item(0x21, bytes((number, 0, result, 0)) + _item(0x40, syntax.encode("latin-1"))))
    about = _item(0x51, struct.pack(">I", max_pdu)) + _item(0x52, IMPLEMENTATION_UID.encode())
    parts.append(_item(0x50, about + _item(0x55, _VERSION_NAME)))
    return framed(ASSOCIATE_AC, b"".join(parts))


def associate_reject(result: int, source: int, reason: int) -> bytes:
    """An A-ASSOCIATE-RJ; the numbers are those of PS3.8 table 9-21."""
    return framed(ASSOCIATE_RJ, bytes((0, result, source, reason)))


def release_reply() -> bytes:
    """An A-RELEASE-RP."""
    return framed(RELEASE_RP, bytes(4))


def abort(reason: int, *, source: int = 2) -> bytes:
    """An A-ABORT; source 2 is the service provider."""
    return framed(ABORT, bytes((0, 0, source, reason)))


def framed(kind: int, body: bytes) -> bytes:
    """A PDU with its header."""
    return HEADER.pack(kind, len(body)) + body


def fragments(body: memoryview) -> Iterator[tuple[int, bool, bool, memoryview]]:
    """The presentation data values of a P-DATA-TF: context, whether command, whether last, content.

    Raises:
        ProtocolError: The lengths do not fit.
    """
    place, end = 0, len(body)
    while place < end:
        if place + _PDV.size > end:
            raise ProtocolError("a presentation data value is cut off")
        length, context, flags = _PDV.unpack_from(body, place)
        after = place + 4 + length
        if length < 2 or after > end:
            raise ProtocolError("a presentation data value is longer than its PDU")
        yield context, bool(flags & 1), bool(flags & 2), body[place + _PDV.size : after]
        place = after


def message(context: int, command: bytes, data_set: bytes, max_pdu: int) -> bytes:
    """P-DATA-TF PDUs of a message.

    Args:
        context: Number of the presentation context.
        command: Encoded command set.
        data_set: Encoded data set, or nothing.
        max_pdu: Longest body that the peer takes; 0: any.
    """
    room = (max_pdu or 1 << 20) - _PDV.size
    if room < 1:
        raise ProtocolError("the peer takes no PDU of any use")
    parts: list[bytes] = []
    for flag, content in ((1, command), (0, data_set)):
        for place in range(0, len(content), room):
            piece = content[place : place + room]
            last = 2 if place + room >= len(content) else 0
            parts.append(framed(DATA, _PDV.pack(len(piece) + 2, context, flag | last) + piece))
    return b"".join(parts)


def _items(data: bytes, place: int) -> Iterator[tuple[int, bytes]]:
    while place < len(data):
        if place + _ITEM.size > len(data):
            raise ProtocolError("an item of the association request is cut off")
        kind, length = _ITEM.unpack_from(data, place)
        place += _ITEM.size
        if place + length > len(data):
            raise ProtocolError("an item of the association request is longer than it")
        yield kind, data[place : place + length]
        place += length


def _item(kind: int, content: bytes) -> bytes:
    return _ITEM.pack(kind, len(content)) + content


def _proposal(content: bytes) -> Proposal:
    if len(content) < 4:
        raise ProtocolError("a presentation context is cut off")
    abstract, transfers = "", []
    for kind, value in _items(content, 4):
        if kind == 0x30:
            abstract = _uid(value)
        elif kind == 0x40:
            transfers.append(_uid(value))
    return Proposal(content[0], abstract, tuple(transfers))


def _max_pdu(content: bytes) -> int:
    for kind, value in _items(content, 0):
        if kind == 0x51 and len(value) == 4:
            return int.from_bytes(value, "big")
    return 0


def _uid(content: bytes) -> str:
    text = content.rstrip(b"\0 ").decode("latin-1")
    if len(text) > _LONGEST_UID:
        raise ProtocolError("an identifier of the association request is too long")
    return text
