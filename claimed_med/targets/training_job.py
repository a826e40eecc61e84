"""What TrainJob, PyTorchJob and Katib trials have in common: the pod that runs a training component under torchrun."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from claimed_med.component import to_argument
from claimed_med.errors import ContractError
from claimed_med.targets.kfp import image as default_image
from claimed_med.targets.pod import DATA, TMP, USER, WORK, literal

if TYPE_CHECKING:
    from claimed_med.component import Contract

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1035: what a TrainJob's own rule asks for
_OURS = "n_processes"  # the setting that says so on one machine


@dataclass(frozen=True)
class Platform:
    """Where a training job runs: values of the cluster, none of the component.

    Attributes:
        name: Of the job: small letters, digits and `-`.
        claim: PersistentVolumeClaim with the inputs, mounted read-only at /data.
        work_claim: PersistentVolumeClaim for what is written: `out/<name>/<port>`, and checkpoints in `scratch`. With
            several nodes it is ReadWriteMany.
        folders: Input port -> folder on `claim`; the port's own name for those that are not named.
        image: With digest; '' for the component's default name.
        n_nodes: Pods.
        n_processes: Processes a pod.
        n_gpus: GPUs a pod; 0 for none.
        cpu: Cores a pod.
        memory: Of a pod.
        secret: Kubernetes Secret with the key CLAIMED_MED_SECRET; '' for none.
        node_selector: Labels of the nodes.

    Raises:
        ContractError: A name that Kubernetes does not take, or a number below 1 (GPUs: 0).
    """

    name: str = "train"
    claim: str = "claimed-med-data"
    work_claim: str = "claimed-med-work"
    folders: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    n_nodes: int = 1
    n_processes: int = 1
    n_gpus: int = 0
    cpu: str = "4"
    memory: str = "16Gi"
    secret: str = ""
    node_selector: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ContractError(
                "manifest", "not a job's name", got=repr(self.name), allowed="a letter, then letters, digits, - (63)"
            )
        for name, low in (("n_nodes", 1), ("n_processes", 1), ("n_gpus", 0)):
            if getattr(self, name) < low:
                raise ContractError("manifest", f"{name} must be at least {low}", got=getattr(self, name))


def arguments(contract: Contract, platform: Platform, settings: Mapping[str, Any], out: str = "") -> list[str]:
    """The words after `claimed-med run`: input ports below /data, the given settings, outputs below /runs/out.

    Args:
        contract: Of a training component.
        platform: Where the ports lie.
        settings: By name; a text stands as it is, so that a placeholder of the platform may be one.
        out: Folder of the outputs, in place of `/runs/out/<name>`.

    Raises:
        ContractError: A setting or port that the component does not have, a folder outside of the claim, or a component
            that does not train in several processes.
    """
    if _OURS not in {one.name for one in contract.settings}:
        raise ContractError(contract.name, "does not train in several processes", allowed=f"those with {_OURS}")
    if _OURS in settings:
        raise ContractError(contract.name, f"{_OURS} is set by torchrun on a cluster", do="give it for the platform")
    words = [contract.name]
    for port in contract.inputs:
        words += [f"--{port.name.replace('_', '-')}", _folder(contract, platform, port.name)]
    for name in platform.folders:
        contract.input(name)
    for name, value in settings.items():
        setting = contract.setting(name)
        words += [setting.option, value if isinstance(value, str) else to_argument(setting, value)]
    return [*words, "--out", out or f"{WORK}/out/{platform.name}"]


def command(n_processes: int = 0) -> list[str]:
    """How torchrun starts a component: nodes, processes and addresses come from PET_*, which the operators set.

    Args:
        n_processes: Processes of this pod where no operator says so; 0 otherwise.
    """
    alone = ["--standalone", f"--nproc-per-node={n_processes}"] if n_processes else []
    return ["torchrun", *alone, "-m", "claimed_med", "run"]


def container(contract: Contract, platform: Platform, name: str, words: Mapping[str, list[str]]) -> dict[str, Any]:
    """The container of every pod: not root, read-only root file system, volumes and secret by reference.

    Args:
        contract: Of a training component.
        platform: Values of the cluster.
        name: Of the container: the one that the operator looks for.
        words: `command` and `args`.
    """
    limits = {"cpu": platform.cpu, "memory": platform.memory}
    if platform.n_gpus:
        limits["nvidia.com/gpu"] = str(platform.n_gpus)
    environment: list[dict[str, Any]] = [
        {"name": "CLAIMED_MED_SCRATCH", "value": f"{WORK}/scratch"},
        {"name": "HOME", "value": TMP},
    ]
    if platform.secret:
        source = {"secretKeyRef": {"name": platform.secret, "key": "CLAIMED_MED_SECRET"}}
        environment.append({"name": "CLAIMED_MED_SECRET", "valueFrom": source})
    return {
        "name": name,
        "image": platform.image or default_image(contract),
        **{name: [literal(word) for word in said] for name, said in words.items()},
        "env": environment,
        "resources": {"requests": dict(limits), "limits": dict(limits)},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "data", "mountPath": DATA, "readOnly": True},
            {"name": "work", "mountPath": WORK},
            {"name": "tmp", "mountPath": TMP},
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - memory that the processes of a pod share (NCCL)
        ],
    }


def pod(contract: Contract, platform: Platform, name: str, words: Mapping[str, list[str]]) -> dict[str, Any]:
    """The pod's specification; arguments as of `container`.

    Checkpoints lie on a claim, so that the pod that takes the place of a killed one goes on.
    """
    made: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container(contract, platform, name, words)],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": platform.claim, "readOnly": True}},
            {"name": "work", "persistentVolumeClaim": {"claimName": platform.work_claim}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "4Gi"}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}},
        ],
    }
    if platform.node_selector:
        made["nodeSelector"] = dict(platform.node_selector)
    return made


def _folder(contract: Contract, platform: Platform, port: str) -> str:
    given = platform.folders.get(port, port)
    path = PurePosixPath(given)
    if not given or path.is_absolute() or ".." in path.parts:
        raise ContractError(contract.name, f"folder of {port} must lie on the claim", got=repr(given))
    return f"{DATA}/{path}"
