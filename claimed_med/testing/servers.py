"""What all test servers need: a free port, an end, and one rule for when the server is not installed."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

REQUIRED = "CLAIMED_MED_REQUIRE_SERVERS"
_STOP_S = 10.0


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


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
