"""What all pods of ours have in common: not root, read-only root, volumes by claim, secrets by reference, sizes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from claimed_med.targets.platform import Place, Platform

DATA, WORK, TMP = "/data", "/runs", "/tmp"  # noqa: S108 - a mounted, private folder of the pod
USER = 1000


def literal(text: str) -> str:
    """A text of `args` or `env` that a container sees as it is: Kubernetes fills in `$(NAME)`, and halves `$$`."""
    return re.sub(r"\$(?=[$(])", "$$", text)


def resources(place: Place, threads: int) -> dict[str, dict[str, str]]:
    """Requests and limits of a container.

    Args:
        place: Sizes and GPUs of its image.
        threads: Cores where the place does not say it.
    """
    limits = {"cpu": place.cpu or str(threads)}
    if place.memory:
        limits["memory"] = place.memory
    if place.gpus:
        limits[place.gpu_resource] = str(place.gpus)
    return {"requests": dict(limits), "limits": dict(limits)}


def volumes(platform: Platform) -> list[dict[str, Any]]:
    """Run folders, a private /tmp, and the inputs, read-only."""
    store = platform.store
    made: list[dict[str, Any]] = [
        {"name": "work", "persistentVolumeClaim": {"claimName": store.claim}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "4Gi"}},
    ]
    if store.data_claim:
        claim = {"claimName": store.data_claim, "readOnly": True}
        made.append({"name": "data", "persistentVolumeClaim": claim})
    return made


def mounts(platform: Platform) -> list[dict[str, Any]]:
    """Where the volumes are seen in a container."""
    made: list[dict[str, Any]] = [{"name": "work", "mountPath": WORK}, {"name": "tmp", "mountPath": TMP}]
    if platform.store.data_claim:
        made.append({"name": "data", "mountPath": DATA, "readOnly": True})
    return made


def engine(place: Place, name: str) -> list[dict[str, Any]]:
    """Environment variables from which a component records engine and image.

    Args:
        place: Of the image.
        name: Of the engine.
    """
    digest = place.name.partition("@")[2]
    made = [{"name": "CLAIMED_MED_ENGINE", "value": name}]
    return [*made, {"name": "CLAIMED_MED_IMAGE_DIGEST", "value": digest}] if digest else made


def secrets(platform: Platform) -> list[dict[str, Any]]:
    """Environment variables of a container that come from Secrets."""
    made = []
    for name, reference in platform.secrets.items():
        secret, _, key = reference.partition("/")
        made.append({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
    return made


def security() -> dict[str, Any]:
    """The security context of a pod."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "fsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> dict[str, Any]:
    """The security context of a container."""
    return {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def nodes(place: Place) -> dict[str, Any]:
    """On which nodes a pod may run."""
    made: dict[str, Any] = {}
    if place.node_selector:
        made["nodeSelector"] = dict(place.node_selector)
    if place.tolerations:
        made["tolerations"] = [dict(one) for one in place.tolerations]
    return made
