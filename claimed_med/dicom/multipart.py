"""Read a multipart answer part by part, as it comes in: memory does not grow with the answer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from claimed_med.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 1 << 18
LONGEST_HEADER = 1 << 16


def parts_of(answer: Any) -> Iterator[Iterator[bytes]]:
    """The parts of a streamed `requests` answer, each an iterator of its bytes.

    Args:
        answer: With `headers` and `iter_content`.

    Raises:
        InputError: The answer is not multipart, or ends before its last part does.
    """
    found = re.search(r'boundary="?([^";,]+)"?', answer.headers.get("Content-Type", ""), re.IGNORECASE)
    if found is None:
        raise InputError("DICOMweb", "the answer is not multipart", do="check the address")
    reader = _Reader(answer.iter_content(CHUNK), b"--" + found.group(1).strip().encode())
    reader.to_border()
    while reader.opens():
        body = reader.body()
        yield body
        for _ in body:  # what the caller left unread
            pass


class _Reader:
    def __init__(self, chunks: Iterator[bytes], border: bytes) -> None:
        self.chunks, self.border, self.held = chunks, border, b""

    def more(self) -> bool:
        piece = next(self.chunks, None)
        if piece is None:
            return False
        self.held += piece
        return True

    def need(self, mark: bytes, most: int) -> int:
        while (place := self.held.find(mark)) < 0:
            if len(self.held) > most or not self.more():
                raise InputError("DICOMweb", "the answer ends too early or is no multipart", do="run again")
        return place

    def to_border(self) -> None:
        place = self.need(self.border, LONGEST_HEADER)
        self.held = self.held[place + len(self.border) :]

    def opens(self) -> bool:
        """Whether another part follows the border; reads its header."""
        while len(self.held) < 2:
            if not self.more():
                raise InputError("DICOMweb", "the answer ends too early", do="run again")
        if self.held[:2] == b"--":
            return False
        place = self.need(b"\r\n\r\n", LONGEST_HEADER)
        self.held = self.held[place + 4 :]
        return True

    def body(self) -> Iterator[bytes]:
        mark = b"\r\n" + self.border
        while (place := self.held.find(mark)) < 0:
            ready = len(self.held) - len(mark)
            if ready > 0:
                yield self.held[:ready]
                self.held = self.held[ready:]
            if not self.more():
                raise InputError("DICOMweb", "the answer ends in the middle of an object", do="run again")
        yield self.held[:place]
        self.held = self.held[place + len(mark) :]
