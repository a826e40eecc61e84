"""Real containers for tests: podman with buildah (or docker), and the images of this checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


def component(
    image: str, words: Sequence[str], inputs: Mapping[str, Path], out: Path, *, network: str = "none"
) -> subprocess.CompletedProcess[str]:
    """Run a component in an image, as strictly as HARDENED says; what it ends with is not looked at.

    Args:
        image: The image.
        words: Name of the component and its settings; one that is an absolute path is mounted where it is.
        inputs: Port or location -> folder, mounted read-only under its name.
        out: Folder of the outputs; must not be there.
        network: `none`, or that through which a server is reached.
    """
    out.mkdir(parents=True)
    out.chmod(0o777)  # for the user inside, whose number is nobody's here
    places = {f"/inputs/{name}": path for name, path in inputs.items()}
    places |= {word: Path(word) for word in words if Path(word).is_absolute() and Path(word).exists()}
    mounts = [f"--mount=type=bind,source={path},target={place},readonly" for place, path in places.items()]
    mounts += [f"--mount=type=bind,source={out},target=/out"]
    ports = [word for name in inputs for word in (f"--{name.replace('_', '-')}", f"/inputs/{name}")]
    strict = [f"--network={network}", *(word for word in HARDENED if not word.startswith("--network"))]
    secrets = ["--env=CLAIMED_MED_SECRET"]  # by name: its value comes from this process
    return run("run", "--rm", *strict, *secrets, *mounts, image, "run", *words, *ports, "--out", "/out", check=False)


def base() -> str:
    """The base image: a small foreign image with a shell and Python, and nothing of ours."""
    script = _ROOT / "docker" / "base.sh"
    environment = {**os.environ, "CLAIMED_MED_CONTAINER_ENGINE": program()}
    made = subprocess.run([str(script)], check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return made.stdout.strip()
