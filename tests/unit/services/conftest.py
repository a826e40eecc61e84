from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import contextmanager
from pathlib import Path

import pytest

from claimed_med.services import pdu
from claimed_med.services.incoming import Store
from claimed_med.services.receiver import Receiver, ReceiverSettings

MR, CT = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT, DEFLATED, VERIFICATION = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.1"


@contextmanager
def _receiving(folder, kept=None, **settings):
    given = {"port": 0, "min_free_bytes": 0, **settings}
    receiver = Receiver(ReceiverSettings(**given), Store(folder), kept)
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop(2)


@pytest.fixture
def receiving():
    """Starts a receiver for a block: `with receiving(folder, **settings) as receiver`."""
    return _receiving


def item(kind, content):
    return struct.pack(">BxH", kind, len(content)) + content


def association_request(contexts, *, called=b"CLAIMED_MED", calling=b"TESTER", version=1):
    """An A-ASSOCIATE-RQ; contexts are (number, abstract syntax, transfer syntax)."""
    body = struct.pack(">HH16s16s32s", version, 0, called.ljust(16), calling.ljust(16), b"")
    body += item(0x10, pdu.APPLICATION_CONTEXT.encode())
    for number, abstract, transfer in contexts:
        inner = bytes((number, 0, 0, 0)) + item(0x30, abstract.encode()) + item(0x40, transfer.encode())
        body += item(0x20, inner)
    body += item(0x50, item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3"))
    return pdu.framed(pdu.ASSOCIATE_RQ, body)


def store_command(sop_class, uid, *, message=1, data=True):
    def element(number, value):
        return struct.pack("<HHI", 0, number, len(value)) + value

    def text(number, value):
        raw = value.encode()
        return element(number, raw + b"\0" * (len(raw) % 2))

    body = text(0x0002, sop_class) + element(0x0100, b"\x01\x00") + element(0x0110, struct.pack("<H", message))
    body += element(0x0700, b"\0\0") + element(0x0800, b"\x01\x00" if data else b"\x01\x01") + text(0x1000, uid)
    return element(0x0000, struct.pack("<I", len(body))) + body


def data_set(sop_class, uid, study="1.2.3", series="1.2.3.1", pixels=b"", *, more=b""):
    """A small data set, explicit VR little endian."""

    def text(group, number, vr, value):
        raw = value.encode()
        raw += (b"\0" if vr == b"UI" else b" ") * (len(raw) % 2)
        return struct.pack("<HH2sH", group, number, vr, len(raw)) + raw

    made = text(8, 0x16, b"UI", sop_class) + text(8, 0x18, b"UI", uid) + more
    made += text(0x10, 0x10, b"PN", "PLANTED^NAME")
    made += text(0x20, 0x0D, b"UI", study) + text(0x20, 0x0E, b"UI", series)
    return made + struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, len(pixels)) + pixels


class Raw:
    """A client that says whatever it is told to."""

    request = staticmethod(association_request)
    command = staticmethod(store_command)
    data_set = staticmethod(data_set)

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def say(self, content):
        self.socket.sendall(content)

    def pdu(self):
        """The next PDU: (kind, body); (0, b"") at the end of the connection."""
        head = self._read(6)
        if len(head) < 6:
            return 0, b""
        kind, length = pdu.HEADER.unpack(head)
        return kind, self._read(length)

    def _read(self, n_bytes):
        got = b""
        while len(got) < n_bytes:
            try:
                piece = self.socket.recv(n_bytes - len(got))
            except ConnectionResetError:
                piece = b""
            if not piece:
                break
            got += piece
        return got

    def associate(self, *contexts, **titles):
        self.say(association_request(contexts or [(1, MR, EXPLICIT)], **titles))
        return self.pdu()

    def store(self, command, content, *, context=1, most=16384):
        """Send a C-STORE-RQ; returns (status, comment) of the answer."""
        self.say(pdu.message(context, command, content, most))
        return self.status()

    def status(self):
        kind, body = self.pdu()
        assert kind == pdu.DATA, f"PDU {kind} instead of an answer: {body!r}"
        elements, place, raw = {}, 0, body[6:]
        while place < len(raw):
            _, number, length = struct.unpack_from("<HHI", raw, place)
            elements[number] = raw[place + 8 : place + 8 + length]
            place += 8 + length
        return int.from_bytes(elements[0x0900], "little"), elements.get(0x0902, b"").decode()


@pytest.fixture
def raw():
    """The class of a client that says whatever it is told to, with makers of messages."""
    return Raw


class _Hurried(asyncio.SelectorEventLoop):
    """A loop whose clock can be put forward, so that no test waits for a time, or is too slow for one."""

    _skipped_s = 0.0

    def time(self):
        return super().time() + self._skipped_s

    def skip(self, seconds):
        """Let so much time have passed as soon as every task waits for something; from any thread."""
        self.call_soon_threadsafe(self._skip, seconds)

    def _skip(self, seconds):
        self._skipped_s += seconds


@pytest.fixture
def hurried():
    """A runner of coroutines whose loop can `skip(seconds)`."""
    with asyncio.Runner(loop_factory=_Hurried) as runner:
        yield runner


def _files(folder):
    return sorted(str(one.relative_to(folder)) for one in Path(folder).rglob("*") if one.is_file())


@pytest.fixture
def files():
    """Names of all files below a folder, but for the receiver's lock."""
    return lambda folder: [one for one in _files(folder) if not one.endswith(".receiver.lock")]
