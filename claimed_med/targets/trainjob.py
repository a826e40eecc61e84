"""Contract in, Kubeflow Trainer manifests (v2) out: a TrainingRuntime with the pod, and a TrainJob that uses it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from claimed_med.emit import to_yaml
from claimed_med.targets.training_job import Platform, arguments, command, pod

if TYPE_CHECKING:
    from claimed_med.component import Contract

GROUP, VERSION = "trainer.kubeflow.org", "v1alpha1"
NODE = "node"  # of replicated job and container: the names that the trainer gives processes and addresses to
RETRIES = 3


def render(contract: Contract, *, settings: Mapping[str, Any], platform: Platform) -> str:
    """Two YAML documents.

    Args:
        contract: Of a training component.
        settings: Those that differ from their defaults.
        platform: The cluster's values.

    Raises:
        ContractError: A setting that the component does not have, or a component that does not train.
    """
    words = {"command": command(), "args": arguments(contract, platform, settings)}
    return to_yaml(_runtime(platform, pod(contract, platform, NODE, words))) + "---\n" + to_yaml(_job(platform))


def _runtime(platform: Platform, pod_spec: dict[str, Any]) -> dict[str, Any]:
    node = {
        "name": NODE,
        "template": {
            "metadata": {"labels": {f"{GROUP}/trainjob-ancestor-step": "trainer"}},
            "spec": {
                "backoffLimit": RETRIES,
                "template": {"spec": {"restartPolicy": "OnFailure", **pod_spec}},
            },
        },
    }
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainingRuntime",
        "metadata": {"name": platform.name, "labels": {f"{GROUP}/framework": "torch"}},
        "spec": {
            "mlPolicy": {"numNodes": platform.n_nodes, "torch": {}},
            "template": {"spec": {"replicatedJobs": [node]}},
        },
    }


def _job(platform: Platform) -> dict[str, Any]:
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainJob",
        "metadata": {"name": platform.name},
        "spec": {
            "runtimeRef": {"apiGroup": GROUP, "kind": "TrainingRuntime", "name": platform.name},
            "trainer": {"numNodes": platform.n_nodes, "numProcPerNode": platform.n_processes},
        },
    }
