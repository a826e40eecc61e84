"""What TrainJob, PyTorchJob and Katib trials have in common: the pod that runs a training component under torchrun."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from claimed_med.component import to_argument
from claimed_med.errors import ContractError
from claimed_med.targets.kfp import image as default_image

if TYPE_CHECKING:
    from claimed_med.component import Contract

DATA, SCRATCH = "/data", "/scratch"
USER = 1000


@dataclass(frozen=True)
class Platform:
    """Where a training job runs: values of the cluster, none of the component.

    Attributes:
        name: Of the job.
        claim: PersistentVolumeClaim with the input ports as folders `/data/<port>`; the outputs go to `/data/out`.
        image: With digest; '' for the component's default name.
        n_nodes: Pods.
        n_processes: Processes a pod.
        n_gpus: GPUs a pod; 0 for none.
        cpu: Cores a pod.
        memory: Of a pod.
        secret: Kubernetes Secret with CLAIMED_MED_SECRET; '' for none.
        node_selector: Labels of the nodes.
    """

    name: str = "train"
    claim: str = "claimed-med-data"
    image: str = ""
    n_nodes: int = 1
    n_processes: int = 1
    n_gpus: int = 0
    cpu: str = "4"
    memory: str = "16Gi"
    secret: str = ""
    node_selector: Mapping[str, str] = field(default_factory=dict)


def arguments(contract: Contract, settings: Mapping[str, Any]) -> list[str]:
    """The words after `claimed-med run`: ports below /data, and the settings that differ from their defaults.

    Raises:
        ContractError: A setting that the component does not have.
    """
    words = [contract.name]
    for port in contract.inputs:
        words += [f"--{port.name.replace('_', '-')}", f"{DATA}/{port.name}"]
    for name, value in settings.items():
        setting = contract.setting(name)
        words += [setting.option, value if isinstance(value, str) else to_argument(setting, value)]
    return [*words, "--out", f"{DATA}/out"]


def command(platform: Platform) -> list[str]:
    """How torchrun starts a component; the number of pods and their addresses come from the environment (PET_*)."""
    return ["torchrun", f"--nproc-per-node={platform.n_processes}", "-m", "claimed_med", "run"]


def container(contract: Contract, platform: Platform, settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The container of every pod: not root, read-only root file system, volumes and secret by reference."""
    if contract.image != "torch":
        raise ContractError(contract.name, "is no training component", got=contract.image, allowed="image torch")
    limits = {"cpu": platform.cpu, "memory": platform.memory}
    if platform.n_gpus:
        limits["nvidia.com/gpu"] = str(platform.n_gpus)
    environment: list[dict[str, Any]] = [
        {"name": "CLAIMED_MED_SCRATCH", "value": SCRATCH},
        {"name": "HOME", "value": "/tmp"},  # noqa: S108 - a mounted, private folder of the pod
    ]
    if platform.secret:
        source = {"secretKeyRef": {"name": platform.secret, "key": "CLAIMED_MED_SECRET"}}
        environment.append({"name": "CLAIMED_MED_SECRET", "valueFrom": source})
    return {
        "name": name,
        "image": platform.image or default_image(contract),
        "command": command(platform),
        "args": arguments(contract, settings),
        "env": environment,
        "resources": {"requests": dict(limits), "limits": dict(limits)},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "data", "mountPath": DATA},
            {"name": "scratch", "mountPath": SCRATCH},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - as above
        ],
    }


def pod(contract: Contract, platform: Platform, settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The pod's specification. Checkpoints lie on the claim, so that a pod that was killed goes on."""
    made: dict[str, Any] = {
        "securityContext": {"runAsNonRoot": True, "runAsUser": USER, "fsGroup": USER},
        "containers": [container(contract, platform, settings, name)],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": platform.claim}},
            {"name": "scratch", "persistentVolumeClaim": {"claimName": f"{platform.claim}-scratch"}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "4Gi"}},
        ],
    }
    if platform.node_selector:
        made["nodeSelector"] = dict(platform.node_selector)
    return made
