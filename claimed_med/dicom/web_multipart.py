"""Take a multipart/related answer apart while it arrives, and make one from files; memory stays bounded."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

CHUNK = 1 << 20
_LARGEST_HEAD = 1 << 14
_BOUNDARY = re.compile(r'boundary\s*=\s*(?:"([^"]{1,200})"|([^\s;,"]{1,200}))', re.IGNORECASE)


class NotMultipart(Exception):  # noqa: N818 - turned into an error of the library where the request is known
    """An answer that is no multipart, or that ends before its last part is whole."""


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type names.

    Raises:
        NotMultipart: It is no multipart, or names none.
    """
    found = _BOUNDARY.search(content_type)
    if not content_type.strip().lower().startswith("multipart/") or not found:
        raise NotMultipart
    return (found[1] or found[2]).encode("latin-1")


def parts(chunks: Iterable[bytes], boundary: bytes) -> Iterator[Iterator[bytes]]:
    """Yield every part as an iterator over its bytes, without its headers.

    Args:
        chunks: The answer as it arrives; each is held once, and little more than one at a time.
        boundary: As `boundary_of` found it.

    Raises:
        NotMultipart: The answer ends before the last part does, or is no multipart.
    """
    source = _Source(chunks)
    delimiter = b"--" + boundary
    if not source.starts_with(delimiter):  # what stands before the first delimiter is to be ignored
        delimiter = b"\r\n" + delimiter
    for _ in source.until(delimiter):
        pass
    delimiter = b"\r\n--" + boundary
    while not source.ends():
        _skip_head(source)
        body = source.until(delimiter)
        yield body
        for _ in body:  # whatever the caller left
            pass


def _skip_head(source: _Source) -> None:
    if source.starts_with(b"\r\n"):
        source.take(2)
        return
    size = 0
    for chunk in source.until(b"\r\n\r\n"):
        size += len(chunk)
        if size > _LARGEST_HEAD:
            raise NotMultipart


class _Source:
    """Bytes that arrive, with a search for a delimiter over the borders of chunks."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = bytearray()

    def starts_with(self, word: bytes) -> bool:
        """Whether the next bytes are these."""
        self._fill(len(word))
        return self._held.startswith(word)

    def take(self, count: int) -> bytes:
        """The next bytes, which are held already."""
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken

    def ends(self) -> bool:
        """Whether the closing `--` stands here; else the rest of the delimiter's line is passed over."""
        self._fill(2)
        if self._held.startswith(b"--"):
            return True
        for chunk in self.until(b"\r\n"):
            if chunk.strip():
                raise NotMultipart
        return False

    def until(self, delimiter: bytes) -> Iterator[bytes]:
        """Yield what stands before the delimiter, and pass over it."""
        while True:
            place = self._held.find(delimiter)
            if place >= 0:
                if place:
                    yield bytes(self._held[:place])
                del self._held[: place + len(delimiter)]
                return
            safe = len(self._held) - len(delimiter) + 1
            if safe > 0:
                yield self.take(safe)
            if not self._more():
                raise NotMultipart

    def _fill(self, count: int) -> None:
        while len(self._held) < count:
            if not self._more():
                raise NotMultipart

    def _more(self) -> bool:
        chunk = next(self._chunks, b"")
        self._held += chunk
        return bool(chunk)


@dataclass(frozen=True)
class Body:
    """A multipart/related body of DICOM files, read from disk while it is sent; it may be sent again.

    Attributes:
        files: What to send.
        boundary: A random one, which no file holds.
    """

    files: Sequence[Path]
    boundary: str = field(default_factory=lambda: secrets.token_hex(24))

    @property
    def content_type(self) -> str:
        """The Content-Type of the request."""
        return f'multipart/related; type="application/dicom"; boundary={self.boundary}'

    def __len__(self) -> int:
        """Size in bytes: it is sent with a Content-Length, which every server understands."""
        around = len(self._head()) + 2
        return sum(path.stat().st_size + around for path in self.files) + len(self._tail())

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes."""
        for path in self.files:
            yield self._head()
            with path.open("rb") as stream:
                while chunk := stream.read(CHUNK):
                    yield chunk
            yield b"\r\n"
        yield self._tail()

    def _head(self) -> bytes:
        return f"--{self.boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode("ascii")

    def _tail(self) -> bytes:
        return f"--{self.boundary}--\r\n".encode("ascii")
