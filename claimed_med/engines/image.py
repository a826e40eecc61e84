"""Container engines and images: which engine, what an image is by digest, and which contracts it carries."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass

from claimed_med.errors import EngineError, MissingDependencyError

ENGINE = "CLAIMED_MED_CONTAINER_ENGINE"
LABEL = "org.claimed-med"
_ENGINES = ("podman", "docker")


@dataclass(frozen=True)
class Image:
    """An image that is on this machine.

    Attributes:
        reference: As the pipeline names it.
        id: By which it is run: the same content, whatever its tag says later.
        digest: As lineage records it: of the manifest where the engine knows it, else the id.
        carried: The components inside, as (name, version).
    """

    reference: str
    id: str
    digest: str
    carried: frozenset[tuple[str, str]]


def engine() -> str:
    """The program that runs containers: CLAIMED_MED_CONTAINER_ENGINE, else podman, else docker.

    Raises:
        MissingDependencyError: There is none.
    """
    given = os.environ.get(ENGINE, "")
    for name in (given,) if given else _ENGINES:
        if found := shutil.which(name):
            return found
    raise MissingDependencyError(
        "container", "there is no container engine", allowed=", ".join(_ENGINES), do="install podman, or docker"
    )


def find(program: str, reference: str) -> Image:
    """The image of that name.

    Args:
        program: The container engine.
        reference: A name with a tag or digest.

    Raises:
        EngineError: It is not on this machine; nothing is pulled.
    """
    for name in (reference, f"localhost/{reference}"):  # as podman calls what was built here
        words = [program, "image", "inspect", name]
        done = subprocess.run(words, check=False, capture_output=True, text=True)
        if done.returncode == 0:
            break
    else:
        raise EngineError(
            "container",
            f"the image {reference} is not on this machine",
            do="run: make image, or pull it",
        )
    told = json.loads(done.stdout)[0]
    labels = told.get("Config", {}).get("Labels") or {}
    carried = json.loads(labels.get(f"{LABEL}.contracts", "[]"))
    identifier = told["Id"].removeprefix("sha256:")
    repository = next((one.partition("@")[2] for one in told.get("RepoDigests") or []), "")
    digest = told.get("Digest") or repository or f"sha256:{identifier}"
    return Image(reference, identifier, digest, frozenset((one["name"], one["version"]) for one in carried))
