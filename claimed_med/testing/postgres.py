"""A PostgreSQL server for tests: started in a folder of its own, on the loopback interface, and stopped again."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from claimed_med.testing.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ABSENT = "PostgreSQL is not installed (make system)"
_USER = "postgres"  # the server refuses to run as root


def programs() -> Path | None:
    """The folder with initdb and pg_ctl, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    named = shutil.which("initdb")
    return Path(named).parent if named else None


def require_installed() -> None:
    """Skip the test when there is no PostgreSQL; fail it where nothing may be skipped."""
    import pytest

    if programs() is None:
        strict = os.environ.get("CLAIMED_MED_REQUIRE_SERVERS") == "1"
        (pytest.fail if strict else pytest.skip)(ABSENT)


@dataclass(frozen=True)
class Postgres:
    """A server.

    Attributes:
        url: Of its database.
        start: Start it again after a stop, on the same port.
        stop: End it at once; connections break.
    """

    url: str
    start: Callable[[], None]
    stop: Callable[[], None]


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A running server; its URL.

    Args:
        folder: Empty; holds the log.
    """
    with server(folder) as running:
        yield running.url


@contextlib.contextmanager
def server(folder: Path) -> Iterator[Postgres]:
    """A running server that can be stopped and started again.

    Args:
        folder: Empty; holds the log.
    """
    binaries = programs()
    if binaries is None:
        raise FileNotFoundError(ABSENT)
    place = Path(tempfile.mkdtemp(prefix="claimed-med-postgres-", dir="/tmp"))
    prefix: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(place, _USER)
        prefix = ["runuser", "-u", _USER, "--"]
    port = free_port()
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={place} -c fsync=off"
    log, data = folder / "log", str(place / "data")

    def call(*words: str) -> None:
        with log.open("ab") as stream:
            subprocess.run([*prefix, *words], check=True, stdout=stream, stderr=stream, cwd=place)

    def start() -> None:
        call(f"{binaries}/pg_ctl", "-D", data, "-w", "-o", options, "-l", str(place / "server.log"), "start")

    def stop() -> None:
        call(f"{binaries}/pg_ctl", "-D", data, "-m", "immediate", "stop")

    try:
        call(f"{binaries}/initdb", "-D", data, "-A", "trust", "-U", _USER, "-E", "UTF8")
        start()
        try:
            yield Postgres(f"postgresql://{_USER}@127.0.0.1:{port}/postgres", start, stop)
        finally:
            if (place / "data" / "postmaster.pid").exists():
                stop()
    finally:
        shutil.rmtree(place, ignore_errors=True)
