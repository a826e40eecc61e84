"""Real containers for tests: podman with buildah (or docker), and the images of this checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

REQUIRED = "CLAIMED_MED_REQUIRE_SERVERS"
ABSENT = "no container engine (run: make system-container)"
HARDENED = ("--network=none", "--read-only", "--cap-drop=all", "--user=1000", "--tmpfs=/tmp")
_ROOT = Path(__file__).parent.parent.parent
_CONFIGURATION = _ROOT / "docker" / "containers.conf"


def program() -> str:
    """The engine that tests use, or ''."""
    given = os.environ.get("CLAIMED_MED_CONTAINER_ENGINE", "")
    return given or ("podman" if shutil.which("podman") and shutil.which("buildah") else "")


def require_installed() -> None:
    """For pytest fixtures: skip where no engine is; fail where CLAIMED_MED_REQUIRE_SERVERS=1."""
    if program() and _CONFIGURATION.is_file():
        os.environ.setdefault("CONTAINERS_CONF", str(_CONFIGURATION))
        return
    import pytest

    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{REQUIRED}=1, but {ABSENT}")
    pytest.skip(ABSENT)


def build(*names: str) -> dict[str, str]:
    """Build images as `make image` does, where they are not there for this source; name -> reference.

    Args:
        names: Of images; none for all.
    """
    script = _ROOT / "docker" / "build.py"
    subprocess.run([sys.executable, str(script), *names], check=True, stdout=sys.stderr)
    found = names or tuple(path.stem for path in script.parent.glob("*.Dockerfile"))
    return {name: f"claimed-med/{name}:latest" for name in found}


def run(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Call the engine."""
    return subprocess.run([program(), *words], check=check, capture_output=True, text=True)


def base() -> str:
    """The base image: a small foreign image with a shell and Python, and nothing of ours."""
    script = _ROOT / "docker" / "base.sh"
    environment = {**os.environ, "CLAIMED_MED_CONTAINER_ENGINE": program()}
    made = subprocess.run([str(script)], check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return made.stdout.strip()
