"""The wire on which tests count what goes over it."""

from __future__ import annotations

import gc
import socket

from claimed_med.testing.routing import Wire, wait_for
from claimed_med.testing.servers import free_port


def test_a_wire_counts_one_way_passes_both_on_and_leaves_no_connection_open():
    with socket.create_server(("127.0.0.1", 0)) as server:
        with Wire(server.getsockname()[1], b"part") as wire:
            for number in range(1, 4):
                with socket.create_connection(("127.0.0.1", wire.port)) as client:
                    client.sendall(b"a pa")
                    client.sendall(b"rt of it")
                    there, _ = server.accept()
                    with there:
                        assert wait_for(lambda there=there: there.recv(1 << 10, socket.MSG_PEEK).endswith(b"of it"))
                        there.sendall(b"a part back")
                        assert client.recv(11, socket.MSG_WAITALL) == b"a part back"
                assert wire.n_seen == number
        gc.collect()  # an open connection would be told here


def test_a_wire_to_a_server_that_is_down_ends_what_comes():
    with Wire(free_port(), b"part") as wire, socket.create_connection(("127.0.0.1", wire.port)) as client:
        assert client.recv(1) == b""
