"""Ports that tests give to servers belong to one test process, whatever others do meanwhile."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from claimed_med.testing import servers
from claimed_med.testing.servers import free_port

CLAIM = """
import sys
from claimed_med.testing import servers
servers._CLAIM = sys.argv[2]
print(servers._claim(int(sys.argv[1])), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def two_ports(monkeypatch):
    """Leaves two ports to choose from, which are ours anyhow."""
    start = free_port()
    while not servers._is_free(start + 1) or not servers._claim(start + 1):
        start = free_port()
    monkeypatch.setattr(servers, "_CLAIM", f"claimed-med-test-of-ports-{os.getpid()}")
    monkeypatch.setattr(servers, "_LOWEST", start)
    monkeypatch.setattr(servers, "_first_ephemeral", lambda: start + 2)
    return start, start + 1


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names exist on Linux only")
def test_a_port_is_given_to_one_process_though_nobody_listens_yet(two_ports):
    words = [sys.executable, "-c", CLAIM, str(two_ports[0]), servers._CLAIM]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "True\n"
        assert free_port() == two_ports[1]
        with pytest.raises(OSError, match="every port is taken"):
            free_port()
        other.stdin.close()
    assert free_port() == two_ports[0]


def test_a_port_on_which_somebody_listens_is_not_given(two_ports):
    with socket.create_server(("127.0.0.1", two_ports[0])):
        assert free_port() == two_ports[1]


def test_no_port_is_one_that_the_kernel_gives_to_a_connection():
    port = free_port()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        chosen = probe.getsockname()[1]
    assert port < servers._first_ephemeral() <= chosen
