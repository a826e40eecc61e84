"""A PostgreSQL server for tests: started in a folder of its own, on the loopback interface, and stopped again."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A running server; its URL.

    Args:
        folder: Empty; holds the database.
    """
    binaries = programs()
    if binaries is None:
        raise FileNotFoundError(ABSENT)
    place = Path(f"/tmp/claimed-med-postgres-{os.getpid()}")  # noqa: S108 - made below, its owner is another user
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700)
    prefix: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(place, _USER)
        prefix = ["runuser", "-u", _USER, "--"]
    port = _free_port()
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={place} -c fsync=off"
    log = folder / "log"

    def call(*words: str) -> None:
        with log.open("ab") as stream:
            subprocess.run([*prefix, *words], check=True, stdout=stream, stderr=stream, cwd=place)

    try:
        data = str(place / "data")
        call(f"{binaries}/initdb", "-D", data, "-A", "trust", "-U", _USER, "-E", "UTF8")
        call(f"{binaries}/pg_ctl", "-D", data, "-w", "-o", options, "-l", str(place / "server.log"), "start")
        try:
            yield f"postgresql://{_USER}@127.0.0.1:{port}/postgres"
        finally:
            call(f"{binaries}/pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
