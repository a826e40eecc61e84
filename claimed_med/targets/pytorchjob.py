"""Contract in, a PyTorchJob of Kubeflow's training operator (v1) out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from claimed_med.emit import to_yaml
from claimed_med.targets.training_job import Platform, arguments, command, pod

if TYPE_CHECKING:
    from claimed_med.component import Contract

RETRIES = 3


def render(contract: Contract, *, settings: Mapping[str, Any], platform: Platform) -> str:
    """One YAML document: one master, and workers when there is more than one node.

    Args:
        contract: Of a training component.
        settings: Those that differ from their defaults.
        platform: The cluster's values.

    Raises:
        ContractError: A setting that the component does not have, or a component that does not train.
    """
    words = {"command": command(), "args": arguments(contract, platform, settings)}
    replica = {"restartPolicy": "OnFailure", "template": {"spec": pod(contract, platform, "pytorch", words)}}
    replicas = {"Master": {"replicas": 1, **replica}}
    if platform.n_nodes > 1:
        replicas["Worker"] = {"replicas": platform.n_nodes - 1, **replica}
    return to_yaml(
        {
            "apiVersion": "kubeflow.org/v1",
            "kind": "PyTorchJob",
            "metadata": {"name": platform.name},
            "spec": {
                "nprocPerNode": str(platform.n_processes),
                "runPolicy": {"cleanPodPolicy": "Running", "backoffLimit": RETRIES},
                "pytorchReplicaSpecs": replicas,
            },
        }
    )
