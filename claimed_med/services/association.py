"""One association that another node opened: negotiation, then one message after the other, until it is released.

Plain blocking reads on a thread of its own. Every length is checked against a limit before anything of that length is
read, and whoever is slower than the deadline allows is cut off by the receiver.
"""

from __future__ import annotations

import logging
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, cast

from claimed_med.services import dimse, pdu
from claimed_med.services.pdu import ProtocolError
from claimed_med.services.storage import Answer

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedReader

    from claimed_med.services.admission import Rejection


log = logging.getLogger("claimed_med.receiver")
LONGEST_REQUEST = 1 << 20  # 128 contexts with every transfer syntax there is take a quarter of that
_LONGEST_COMMAND = 1 << 14
_BUFFER = 1 << 17
_GOODBYE_S = 1.0
_NONE = Answer(dimse.SUCCESS)
NEVER = float("inf")
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux; forgotten by the kernel after a while


class Sink(Protocol):
    """Takes the data set of a message."""

    def write(self, fragment: memoryview) -> None:
        """Take the next bytes."""

    def finish(self) -> Answer:
        """End; the answer to the request."""

    def drop(self) -> None:
        """Forget what came, since the rest will not."""


@dataclass
class Dropped:
    """A data set that nobody wants."""

    answer: Answer

    def write(self, fragment: memoryview) -> None:
        """Drop the bytes."""

    def finish(self) -> Answer:
        """The answer that was clear from the start."""
        return self.answer

    def drop(self) -> None:
        """Nothing is held."""


class Acceptor(Protocol):
    """What an association asks its receiver."""

    max_pdu_bytes: int
    most_dropped_bytes: int
    handshake_s: float
    progress_s: float
    idle_s: float

    def check(self, request: pdu.AssociateRequest) -> Rejection | None:
        """Whether to refuse an association."""

    def choose(self, proposal: pdu.Proposal) -> tuple[int, str]:
        """Result and transfer syntax of a presentation context."""

    def sink(self, association: Association, request: dimse.Command, context: Context) -> Sink:
        """What takes the data set of a request."""

    def answered(self, request: dimse.Command, answer: Answer, seconds: float, n_bytes: int) -> None:
        """A request was answered."""


@dataclass(frozen=True)
class Context:
    """An accepted presentation context."""

    number: int
    abstract_syntax: str
    transfer_syntax: str


@dataclass(eq=False)
class Association:
    """See the module.

    Attributes:
        connection: The socket, fresh from accept.
        address: Of the peer, without port.
        acceptor: Whom it asks.
        secure: For TLS.
        deadline: When the receiver cuts it off, on the monotonic clock.
        busy: Whether a message is on its way.
        stopping: Whether it must end as soon as it is not busy.
        calling_aet: Who calls; '' until it is let in.
    """

    connection: socket.socket
    address: str
    acceptor: Acceptor
    secure: ssl.SSLContext | None = None
    deadline: float = NEVER
    busy: bool = False
    stopping: bool = False
    calling_aet: str = ""
    after: list[Callable[[], None]] = field(default_factory=list)
    _contexts: dict[int, Context] = field(default_factory=dict)
    _peer_max: int = 0
    _context: Context | None = None
    _command: bytearray = field(default_factory=bytearray)
    _request: dimse.Command | None = None
    _sink: Sink | None = None
    _began: float = 0.0
    _n_bytes: int = 0

    def run(self) -> str:
        """Serve it to its end.

        Returns:
            How it ended, in words for log and metrics.
        """
        try:
            with self._stream() as stream:
                return self._serve(stream)
        except ProtocolError as error:
            log.warning("peer=%s ended=protocol-error why=%s", self.address, str(error).replace(" ", "-"))
            self._say_goodbye(pdu.abort(error.reason))
            return "protocol error"
        except ssl.SSLError as error:
            log.warning("peer=%s ended=tls-error why=%s", self.address, error.reason)
            return "tls error"
        except (OSError, EOFError):
            return "stopped" if self.stopping else "connection lost"
        finally:
            if self._sink is not None:
                self._sink.drop()
            self.close()

    def close(self) -> None:
        """Close the connection."""
        self.cut()
        with suppress(OSError):
            self.connection.close()

    def cut(self) -> None:
        """End all reading and writing, from any thread."""
        with suppress(OSError):
            socket.socket.shutdown(self.connection, socket.SHUT_RDWR)

    def stop(self) -> None:
        """End after the message that is on its way, from any thread."""
        self.stopping = True
        if not self.busy:
            with suppress(OSError):
                socket.socket.shutdown(self.connection, socket.SHUT_RD)

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.deadline = time.monotonic() + self.acceptor.progress_s
        self.connection.sendall(data)

    def send_message(self, context: Context, command: bytes, data_set: bytes = b"") -> None:
        """Send a message."""
        self.send(pdu.message(context.number, command, data_set, self._peer_max))

    def _stream(self) -> BufferedReader:
        self.deadline = time.monotonic() + self.acceptor.handshake_s
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.secure is not None:
            # the socket first, so that a handshake that takes too long can be cut
            secured = self.secure.wrap_socket(self.connection, server_side=True, do_handshake_on_connect=False)
            self.connection = secured
            secured.do_handshake()
        return cast("BufferedReader", self.connection.makefile("rb", buffering=_BUFFER))

    def _serve(self, stream: BufferedReader) -> str:
        refused = self._negotiate(stream)
        if refused:
            return refused
        while self.busy or not self.stopping:
            self.deadline = time.monotonic() + (self.acceptor.progress_s if self.busy else self.acceptor.idle_s)
            self._acknowledge()
            kind, length = _header(stream)
            self.deadline = time.monotonic() + self.acceptor.progress_s
            if kind == pdu.DATA:
                self._data(_body(stream, length, self.acceptor.max_pdu_bytes))
            elif kind == pdu.RELEASE_RQ:
                _body(stream, length, LONGEST_REQUEST)
                self._say_goodbye(pdu.release_reply())
                return "released"
            elif kind == pdu.ABORT:
                return "aborted by the peer"
            else:
                known = pdu.ASSOCIATE_RQ <= kind <= pdu.ABORT
                raise ProtocolError("a PDU that is not expected", pdu.UNEXPECTED_PDU if known else pdu.UNRECOGNISED_PDU)
        self._say_goodbye(pdu.abort(pdu.UNSPECIFIED))
        return "stopped"

    def _acknowledge(self) -> None:
        """Acknowledge at once what came: many senders hold their data set back until their command is acknowledged."""
        if _QUICKACK is not None:
            self.connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def _negotiate(self, stream: BufferedReader) -> str:
        kind, length = _header(stream)
        if kind == pdu.ABORT:
            return "aborted by the peer"
        if kind != pdu.ASSOCIATE_RQ:
            raise ProtocolError("no association request", pdu.UNRECOGNISED_PDU)
        request = pdu.associate_request(bytes(_body(stream, length, LONGEST_REQUEST)))
        refusal = self.acceptor.check(request)
        if refusal is not None:
            log.warning("peer=%s association=rejected why=%s", self.address, refusal.words.replace(" ", "-"))
            self._say_goodbye(pdu.associate_reject(refusal.result, refusal.source, refusal.reason))
            return f"rejected: {refusal.words}"
        results = {one.number: self.acceptor.choose(one) for one in request.proposals}
        for one in request.proposals:
            result, syntax = results[one.number]
            if result == pdu.ACCEPTED:
                self._contexts[one.number] = Context(one.number, one.abstract_syntax, syntax)
        self.calling_aet, self._peer_max = request.calling, request.max_pdu
        self.send(pdu.associate_accept(request, results, self.acceptor.max_pdu_bytes))
        return ""

    def _data(self, body: memoryview) -> None:
        for number, is_command, last, content in pdu.fragments(body):
            if is_command:
                self._take_command(number, content, last=last)
            else:
                self._take_data(number, content, last=last)

    def _take_command(self, number: int, content: memoryview, *, last: bool) -> None:
        if self._request is not None:
            raise ProtocolError("a command before the data set of the last one was whole")
        self._context = self._contexts.get(number)
        if self._context is None:
            raise ProtocolError("a presentation context that was not accepted")
        self.busy = True
        self._command += content
        if len(self._command) > _LONGEST_COMMAND:
            raise ProtocolError("a command set that is too long")
        if not last:
            return
        request = dimse.decoded(bytes(self._command))
        self._command.clear()
        self._began, self._n_bytes = time.monotonic(), 0
        self._request = request
        self._sink = Dropped(_NONE) if request.expects_nothing else self.acceptor.sink(self, request, self._context)
        if not request.has_data:
            self._finish()

    def _take_data(self, number: int, content: memoryview, *, last: bool) -> None:
        if self._sink is None or self._context is None or self._context.number != number:
            raise ProtocolError("a data set without a command")
        self._n_bytes += len(content)
        if self._n_bytes > self.acceptor.most_dropped_bytes:
            raise ProtocolError("a data set without an end")
        self._sink.write(content)
        if last:
            self._finish()

    def _finish(self) -> None:
        request, sink, context = self._request, self._sink, self._context
        if request is None or sink is None or context is None:
            raise ProtocolError("a message without a request")
        self.deadline = NEVER  # the disk may be slow: that is not the peer's fault
        answer = sink.finish()
        self._request = self._sink = None
        if not request.expects_nothing:
            self.send_message(context, dimse.response(request, answer.status, answer.comment))
            self.acceptor.answered(request, answer, time.monotonic() - self._began, self._n_bytes)
        while self.after:
            self.after.pop(0)()
        self.busy = False

    def _say_goodbye(self, last_words: bytes) -> None:
        """Send the last PDU, and give the peer a moment to read it before the connection is reset."""
        with suppress(OSError):
            self.connection.settimeout(_GOODBYE_S)
            self.send(last_words)
            if self.secure is None:  # within TLS a bare end looks like an attack
                self.connection.shutdown(socket.SHUT_WR)
            until = time.monotonic() + _GOODBYE_S
            while time.monotonic() < until and self.connection.recv(_BUFFER):
                pass


def _header(stream: BufferedReader) -> tuple[int, int]:
    head = stream.read(pdu.HEADER.size)
    if len(head) < pdu.HEADER.size:
        raise EOFError
    kind, length = pdu.HEADER.unpack(head)
    return int(kind), int(length)


def _body(stream: BufferedReader, length: int, most: int) -> memoryview:
    if length > most:
        raise ProtocolError("a PDU that is longer than allowed")
    body = stream.read(length)
    if len(body) < length:
        raise EOFError
    return memoryview(body)
