"""A server that talks for ever, slowly or fast, is left at the end of the time or of the bytes that were allowed."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading

import pytest
import requests
import trustme
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError

from claimed_med.dicom.web import Archive, Patience
from claimed_med.dicom.web_auth import Credentials
from claimed_med.dicom.web_deadline import Deadline
from claimed_med.dicom.web_transport import TooMuch
from claimed_med.errors import InputError

HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
LIST = HEAD.replace(b"200 OK", b"501 Not Implemented") + b"\r\n"
SHORT = Patience(attempts=3, first_s=0.1, whole_s=1.0)
BODY = HEAD + b'Content-Type: multipart/related; type="application/dicom"; boundary=x\r\n\r\n--x\r\n\r\n'


@pytest.fixture
def server():
    """A function that starts a server: (what it says at once, what it says again and again, pause [s], TLS) -> URL."""
    over, listening = threading.Event(), []

    def start(first, again, pause_s, context=None):
        made = socket.create_server(("127.0.0.1", 0))
        listening.append(made)

        def serve():
            while not over.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = made.accept()
                    threading.Thread(target=talk, args=(connection,), daemon=True).start()

        def talk(connection):
            with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
                wrapped = stack.enter_context(
                    connection if context is None else context.wrap_socket(connection, server_side=True)
                )
                if b"/series" in wrapped.recv(65536).partition(b"?")[0]:
                    wrapped.sendall(LIST)
                    return
                wrapped.sendall(first)
                while not over.wait(pause_s):
                    wrapped.sendall(again)

        threading.Thread(target=serve, daemon=True).start()
        return f"{'http' if context is None else 'https'}://127.0.0.1:{made.getsockname()[1]}"

    yield start
    over.set()
    for one in listening:
        one.close()


@pytest.mark.parametrize("first", [BODY, HEAD, b"HTTP/1.1 2"], ids=["body", "headers", "status"])
def test_a_drip_ends_with_the_time(first, server, tmp_path):
    with Archive(server(first, b"X", 0.02), patience=SHORT) as archive, pytest.raises(InputError, match="too long"):
        archive.retrieve("1.2.3", tmp_path / "out")
    assert [one for one in (tmp_path / "out").iterdir() if one.suffix == ".dcm"] == []


def test_a_drip_through_tls_ends_too(server, tmp_path):
    authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    url, who = server(BODY, b"X", 0.02, context), Credentials(authority=str(tmp_path / "ca.pem"))
    with Archive(url, who, patience=SHORT) as archive, pytest.raises(InputError, match="too long"):
        archive.retrieve("1.2.3", tmp_path / "out")


def test_a_flood_ends_with_the_bytes(server, tmp_path):
    url, patience = server(BODY, bytes(1 << 20), 0), Patience(attempts=3, most_bytes=8 << 20)
    with Archive(url, patience=patience) as archive, pytest.raises(TooMuch, match="8 MiB"):
        archive.retrieve("1.2.3", tmp_path / "out")
    assert sum(one.stat().st_size for one in (tmp_path / "out").iterdir()) == 0


@pytest.mark.parametrize("seconds", [0.0, 0.3])
def test_a_connection_that_is_made_when_the_time_is_over_is_cut_off(seconds, server, monkeypatch):
    """It is known too late for the cut: this thread was not given the processor while it was made."""
    deadline = Deadline(seconds)
    deadline.watch(requests.Session())
    connect = HTTPConnection.connect

    def late(connection):
        connect(connection)
        deadline._timer.join()

    monkeypatch.setattr(HTTPConnection, "connect", late)
    pool = deadline._pools()["http"]("127.0.0.1", int(server(HEAD + b"\r\n", b"X", 0.02).rpartition(":")[2]))
    with pytest.raises(HTTPError):
        pool.urlopen("GET", "/", retries=False, preload_content=False).read(1000)
    pool.close()
