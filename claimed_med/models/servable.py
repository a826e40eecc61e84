"""A bundle with its decision as one folder, and how to make an image of it.

servable.json          what it is: digest of the bundle, task, component, decision
bundle/                the bundle, byte for byte
decision/              the decision on it
Containerfile          an image of the folder, on top of the image `serve`
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FORMAT = "claimed-med/servable/1"
DESCRIPTION, BUNDLE, DECISION = "servable.json", "bundle", "decision"
HOME = "/mnt/models"
BASE = "claimed-med/serve"


def files(
    bundle: Mapping[str, Path | bytes], decision: Mapping[str, Path | bytes], about: Mapping[str, Any]
) -> dict[str, bytes]:
    """The payload of a servable folder.

    Args:
        bundle: Payload of the bundle.
        decision: Payload of the decision.
        about: For `servable.json`: bundle_digest, task, classes, component, version, blessing.

    Returns:
        Relative name -> bytes.
    """
    made = {f"{BUNDLE}/{name}": _bytes(one) for name, one in bundle.items()}
    made |= {f"{DECISION}/decision.json": _bytes(next(iter(decision.values())))}
    text = json.dumps({"format": FORMAT, **about}, indent=1, sort_keys=True) + "\n"
    return made | {DESCRIPTION: text.encode(), "Containerfile": containerfile(str(about["bundle_digest"])).encode()}


def containerfile(digest: str, base: str = BASE) -> str:
    """How to make an image: `podman build --build-arg BASE=REGISTRY/serve@sha256:... FOLDER`.

    Args:
        digest: Of the bundle, for a label.
        base: Image with the extras torch and serve.
    """
    return f"""ARG BASE={base}
FROM ${{BASE}}
COPY . {HOME}
LABEL claimed-med.bundle-sha256={digest}
USER 1000
ENTRYPOINT ["claimed-med", "serve", "{HOME}"]
"""


def _bytes(content: Path | bytes) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()
