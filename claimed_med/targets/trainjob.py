"""Contract in, Kubeflow Trainer manifests (v2) out: a TrainingRuntime with the pod, and a TrainJob that uses it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from claimed_med.targets.emit import to_yaml
from claimed_med.targets.training_job import Platform, pod

if TYPE_CHECKING:
    from claimed_med.component import Contract

API = "trainer.kubeflow.org/v1alpha1"


def render(contract: Contract, *, settings: Mapping[str, Any], platform: Platform) -> str:
    """Two YAML documents.

    Args:
        contract: Of a training component.
        settings: Those that differ from their defaults.
        platform: The cluster's values.
    """
    runtime = {
        "apiVersion": API,
        "kind": "TrainingRuntime",
        "metadata": {
            "name": platform.name,
            "labels": {"trainer.kubeflow.org/framework": "torch"},
        },
        "spec": {
            "mlPolicy": {"numNodes": platform.n_nodes, "torch": {}},
            "template": {
                "spec": {
                    "replicatedJobs": [
                        {
                            "name": "node",
                            "template": {
                                "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
                                "spec": {
                                    "template": {
                                        "spec": {
                                            "restartPolicy": "OnFailure",
                                            **pod(contract, platform, settings, "node"),
                                        }
                                    }
                                },
                            },
                        }
                    ]
                }
            },
        },
    }
    job = {
        "apiVersion": API,
        "kind": "TrainJob",
        "metadata": {"name": platform.name},
        "spec": {
            "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": platform.name},
            "trainer": {"numNodes": platform.n_nodes, "numProcPerNode": platform.n_processes},
        },
    }
    return to_yaml(runtime) + "---\n" + to_yaml(job)
