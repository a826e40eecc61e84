"""Data elements straight from the bytes of a DICOM file, and back: no value is converted that nobody asks for.

De-identification changes a few dozen of some hundred elements and copies the others as they are; turning each of them
into an object and back costs ten times as much.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from pydicom.datadict import DicomDictionary, RepeatersDictionary, keyword_for_tag

from claimed_med.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

UNDEFINED = 0xFFFFFFFF
ITEM, END_OF_ITEM, END_OF_SEQUENCE = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_DATA = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
IMPLICIT, EXPLICIT, BIG, DEFLATED = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
)
DICOMDIR = "1.2.840.10008.1.3.10"
MOST_INFLATED = 1 << 30
_LAST_FIRST_GROUP = 0x20
_CLASS, _INSTANCE, _SYNTAX = 0x00020002, 0x00020003, 0x00020010
_LONG = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_KNOWN = _LONG | frozenset("AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_TWO, _FOUR = (
    {False: struct.Struct("<HH"), True: struct.Struct(">HH")},
    {
        False: struct.Struct("<I"),
        True: struct.Struct(">I"),
    },
)
_SHORT = {False: struct.Struct("<H"), True: struct.Struct(">H")}
_VR_OF = {bytes(vr, "ascii"): vr for vr in _KNOWN}


@dataclass(frozen=True)
class Encoding:
    """How elements are written."""

    implicit: bool = False
    big: bool = False


class Element(NamedTuple):
    """One element: where its header starts, where its value lies, where the next element starts."""

    tag: int
    vr: str
    start: int
    value: int
    length: int
    end: int


@dataclass
class Stored:
    """A DICOM file, taken apart.

    Attributes:
        data: The bytes that hold the data set; inflated where the file is deflated.
        start: Where the data set starts in them.
        encoding: Of the data set.
        syntax: Transfer syntax UID.
        sop_class: Media storage SOP class UID of the file meta information, or ''.
        sop_uid: Media storage SOP instance UID, or ''.
    """

    data: bytes
    start: int
    encoding: Encoding
    syntax: str
    sop_class: str
    sop_uid: str = ""


def damaged(what: str) -> InputError:
    """The error of a file that cannot be taken apart."""
    return InputError("DICOM file", what, do="repair or leave out this file")


def open_bytes(data: bytes) -> Stored:
    """Find the data set in the bytes of a file, with or without preamble and file meta information.

    Raises:
        InputError: The bytes are no DICOM file, or inflate to more than 1 GiB.
    """
    start = 132 if data[128:132] == b"DICM" else 0
    told: dict[int, str] = {}
    place = start
    meta = Encoding()
    while data[place : place + 2] == b"\x02\x00":
        element = next(elements(data, place, len(data), meta), None)
        if element is None:
            break
        told[element.tag] = _uid(data, element)
        place = element.end
    syntax = told.get(_SYNTAX, "") or _guessed(data, place)
    if syntax == DEFLATED:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = inflater.decompress(data[place:], MOST_INFLATED)
        except zlib.error:
            raise damaged("the deflated data set is damaged") from None
        if inflater.unconsumed_tail:
            raise damaged("the deflated data set is larger than 1 GiB")
        place = 0
    if place >= len(data):
        raise damaged("there is no data set")
    return Stored(
        data, place, Encoding(syntax == IMPLICIT, syntax == BIG), syntax, told.get(_CLASS, ""), told.get(_INSTANCE, "")
    )


def elements(
    data: bytes, start: int, end: int, encoding: Encoding, *, before_pixels: bool = False
) -> Iterator[Element]:
    """The elements of a data set or item, in their order.

    Args:
        data: Bytes that hold them.
        start: Where the first one starts.
        end: Where the last one ends.
        encoding: How they are written.
        before_pixels: End at the pixel data, which need not be there whole.

    Raises:
        InputError: An element goes on past the end.
    """
    two = _TWO[encoding.big]
    place = start
    while place < end:
        if place + 8 > end:
            _only_padding(data, place, end)
            return
        group, number = two.unpack_from(data, place)
        tag = group << 16 | number
        if tag in (END_OF_ITEM, END_OF_SEQUENCE) or (before_pixels and tag in PIXEL_DATA):
            return
        vr, value, length = _head(data, place, end, tag, encoding)
        if length == UNDEFINED:
            inner = Encoding(implicit=True) if vr == "UN" and not encoding.implicit else encoding
            after = _end_of_sequence(data, value, end, inner)
        else:
            after = value + length
        if after > end:
            raise damaged("an element is longer than the file")
        if vr == "UN" and (length == UNDEFINED or vr_of(tag) == "SQ"):
            vr = "SQ"
        yield Element(tag, vr, place, value, length, after)
        place = after


def _head(data: bytes, place: int, end: int, tag: int, encoding: Encoding) -> tuple[str, int, int]:
    """VR, start of the value, and length as written."""
    vr = None if encoding.implicit else _VR_OF.get(data[place + 4 : place + 6])
    if vr is None and (encoding.implicit or not data[place + 4 : place + 6].isalpha()):
        (length,) = _FOUR[encoding.big].unpack_from(data, place + 4)
        return vr_of(tag), place + 8, length
    if vr is None or vr in _LONG:  # a VR that does not exist (yet) is read like UN: PS3.5 6.2.2
        if place + 12 > end:
            raise damaged("an element is cut off")
        (length,) = _FOUR[encoding.big].unpack_from(data, place + 8)
        return vr or "UN", place + 12, length
    (length,) = _SHORT[encoding.big].unpack_from(data, place + 6)
    return vr, place + 8, length


def _only_padding(data: bytes, place: int, end: int) -> None:
    if data[place:end].strip(b"\0"):
        raise damaged("an element is cut off")


def items(data: bytes, sequence: Element, encoding: Encoding) -> Iterator[tuple[int, int]]:
    """Start and end of what each item of a sequence holds."""
    two, four = _TWO[encoding.big], _FOUR[encoding.big]
    place, end = sequence.value, sequence.end
    while place + 8 <= end:
        group, number = two.unpack_from(data, place)
        if group << 16 | number != ITEM:
            return
        (length,) = four.unpack_from(data, place + 4)
        start = place + 8
        if length == UNDEFINED:
            place = _end_of_item(data, start, end, encoding)
            yield start, place - 8
        else:
            place = start + length
            if place > end:
                raise damaged("an item is longer than its sequence")
            yield start, place


def inner_encoding(data: bytes, sequence: Element, encoding: Encoding) -> Encoding:
    """How the items of a sequence are written: a sequence of VR UN is always implicit little endian."""
    if encoding.implicit or data[sequence.start + 4 : sequence.start + 6] == b"SQ":
        return encoding
    return Encoding(implicit=True)


def encoded(tag: int, vr: str, value: bytes, encoding: Encoding) -> bytes:
    """One element with a value of known length; odd lengths are padded."""
    if len(value) % 2:
        value += b"\0" if (vr_of(tag) if vr == "UN" else vr) in {"UI", "OB", "UN"} else b" "
    head = _TWO[encoding.big].pack(tag >> 16, tag & 0xFFFF)
    if encoding.implicit:
        return head + _FOUR[encoding.big].pack(len(value)) + value
    if vr in _LONG:
        return head + vr.encode() + b"\0\0" + _FOUR[encoding.big].pack(len(value)) + value
    return head + vr.encode() + _SHORT[encoding.big].pack(len(value)) + value


def sequence_of(tag: int, contents: list[bytes], encoding: Encoding) -> bytes:
    """A sequence with the given items, all of known length."""
    two, four = _TWO[encoding.big], _FOUR[encoding.big]
    item = two.pack(ITEM >> 16, ITEM & 0xFFFF)
    return encoded(tag, "SQ", b"".join(item + four.pack(len(one)) + one for one in contents), encoding)


@cache
def vr_of(tag: int) -> str:
    """The VR of a tag by the dictionary; `UN` for what is not in it."""
    if tag & 0xFFFF == 0:
        return "UL"
    if tag >> 16 & 1:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
    known = DicomDictionary.get(tag) or _repeater(tag)
    return str(known[0]).split(" or ", maxsplit=1)[0] if known else "UN"


@cache
def vrs_of(tag: int) -> frozenset[str]:
    """All VRs that a tag may have by the dictionary."""
    known = DicomDictionary.get(tag) or _repeater(tag)
    return frozenset(str(known[0]).split(" or ")) if known else frozenset({vr_of(tag)})


@cache
def keyword_of(tag: int) -> str:
    """The keyword of a tag, or its number in hex."""
    return keyword_for_tag(tag) or f"{tag:08X}"


def _repeater(tag: int) -> tuple[str, ...] | None:
    if tag >> 24 not in {0x50, 0x60}:
        return None
    return RepeatersDictionary.get(f"{tag >> 24:02X}xx{tag & 0xFFFF:04X}")


def _uid(data: bytes, element: Element) -> str:
    return data[element.value : element.end].decode("latin-1").strip(" \0")


def _guessed(data: bytes, place: int) -> str:
    first = data[place : place + 8]
    if len(first) < 8 or not 0 < min(first[0] | first[1] << 8, first[1] | first[0] << 8) <= _LAST_FIRST_GROUP:
        raise damaged("this is no DICOM file")
    if data[place + 4 : place + 6] not in _VR_OF:
        return IMPLICIT
    return BIG if data[place : place + 2] == b"\x00\x08" else EXPLICIT


def _end_of_sequence(data: bytes, place: int, end: int, encoding: Encoding) -> int:
    two, four = _TWO[encoding.big], _FOUR[encoding.big]
    while place + 8 <= end:
        group, number = two.unpack_from(data, place)
        (length,) = four.unpack_from(data, place + 4)
        tag = group << 16 | number
        place += 8
        if tag == END_OF_SEQUENCE:
            return place
        if tag != ITEM:
            raise damaged("a sequence holds something that is no item")
        place = _end_of_item(data, place, end, encoding) if length == UNDEFINED else place + length
    raise damaged("a sequence does not end")


def _end_of_item(data: bytes, start: int, end: int, encoding: Encoding) -> int:
    place = start
    for element in elements(data, start, end, encoding):
        place = element.end
    if _TWO[encoding.big].unpack_from(data, place) != (END_OF_ITEM >> 16, END_OF_ITEM & 0xFFFF):
        raise damaged("an item does not end")
    return place + 8
