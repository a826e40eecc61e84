"""Programs of dcmtk for tests, by full path: pynetdicom installs scripts of the same names."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from claimed_med.testing.orthanc import REQUIRED

ABSENT = "dcmtk is absent (apt-get install dcmtk)"
_FOLDER = Path("/usr/bin")


def program(name: str) -> str:
    """The path of a program, such as `storescu`."""
    return str(_FOLDER / name)


def require_installed() -> None:
    """For pytest fixtures: skip where dcmtk is absent; fail where CLAIMED_MED_REQUIRE_SERVERS=1."""
    if Path(program("storescu")).is_file():
        return
    import pytest

    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{REQUIRED}=1, but {ABSENT}")
    pytest.skip(ABSENT)


def run(name: str, *words: object, timeout_s: float = 120.0) -> tuple[int, str]:
    """Run a program to its end; its exit code, and what it printed."""
    done = subprocess.run(
        [program(name), *map(str, words)], capture_output=True, text=True, check=False, timeout=timeout_s
    )
    return done.returncode, done.stdout + done.stderr
