"""What all test servers need: a free port, an end, and one rule for when the server is not installed."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
from pathlib import Path

REQUIRED = "CLAIMED_MED_REQUIRE_SERVERS"
_STOP_S = 10.0
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST, _USUAL_EPHEMERAL = 15_000, 32_768
_CLAIM = "claimed-med-test-port"
_claimed: list[socket.socket] = []


def free_port() -> int:
    """A TCP port on which nothing listens, and that is given to nobody else as long as this process lives.

    It is none of those that the kernel chooses by itself: else a connection of anybody could take it before the server
    that it is meant for does, or a client that waits for that server could meet itself.

    Raises:
        OSError: There is none.
    """
    candidates = list(range(_LOWEST, _first_ephemeral()))
    random.shuffle(candidates)
    for port in candidates:
        if _is_free(port) and _claim(port):
            return port
    raise OSError("every port is taken")


def _first_ephemeral() -> int:
    try:
        return max(_LOWEST + 1, int(_EPHEMERAL.read_text(encoding="ascii").split()[0]))
    except (OSError, ValueError):  # not Linux
        return _USUAL_EPHEMERAL


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))  # some servers listen on every interface
        except OSError:
            return False
    return True


def _claim(port: int) -> bool:
    """Tell other processes that this one has the port, by an abstract name that ends with it; Linux only."""
    if sys.platform != "linux":
        return True
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0{_CLAIM}-{port}")
    except OSError:
        claim.close()
        return False
    _claimed.append(claim)
    return True


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started here, and wait for it."""
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def require(*, present: bool, absent: str) -> None:
    """For pytest fixtures: skip where a tool is absent; fail where CLAIMED_MED_REQUIRE_SERVERS=1.

    Args:
        present: Whether it is there.
        absent: The line that says what is missing and how it comes here.
    """
    if present:
        return
    import pytest

    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{REQUIRED}=1, but {absent}")
    pytest.skip(absent)


def programs(engine: str) -> Path:
    """Folder of the programs of an engine that `make engines` installed: below CLAIMED_MED_ENGINES, or the cache.

    Args:
        engine: airflow, elyra or cwl.
    """
    given = os.environ.get("CLAIMED_MED_ENGINES", "")
    root = Path(given) if given else Path.home() / ".cache" / "claimed_med" / "engines"
    return root / engine / "bin"
