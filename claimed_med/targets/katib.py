"""Contract and search space in, a Katib Experiment out: the same search as `search-hyperparameters`, on a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from claimed_med.searchspace import Parameter, Space
from claimed_med.targets.emit import to_yaml
from claimed_med.targets.training_job import Platform, pod

if TYPE_CHECKING:
    from claimed_med.component import Contract

_TYPES = {"float": "double", "int": "int", "categorical": "categorical"}
PARALLEL = 2


def render(contract: Contract, *, settings: Mapping[str, Any], platform: Platform, space: Space) -> str:
    """One YAML document; every trial is a Job that runs the training component with other settings.

    Args:
        contract: Of the training component that takes the parameters as settings.
        settings: Those that differ from their defaults and are not searched.
        platform: The cluster's values.
        space: What is searched; parameters that are no settings of the component are passed on in the recipe.
    """
    own = {one.name for one in contract.settings}
    searched = [one for one in space.parameters if one.name in own]
    drawn = {one.name: f"${{trialParameters.{_camel(one.name)}}}" for one in searched}
    spec = pod(contract, replace(platform, n_nodes=1), {**settings, **drawn}, "training")
    return to_yaml(
        {
            "apiVersion": "kubeflow.org/v1beta1",
            "kind": "Experiment",
            "metadata": {"name": platform.name},
            "spec": {
                "objective": {"type": space.direction, "objectiveMetricName": space.objective},
                "algorithm": {"algorithmName": "tpe"},
                "parallelTrialCount": min(PARALLEL, space.n_trials),
                "maxTrialCount": space.n_trials,
                "maxFailedTrialCount": max(1, space.n_trials // 4),
                "metricsCollectorSpec": {"collector": {"kind": "StdOut"}},
                "parameters": [_parameter(one) for one in searched],
                "trialTemplate": {
                    "primaryContainerName": "training",
                    "trialParameters": [
                        {"name": _camel(one.name), "description": one.name, "reference": one.name} for one in searched
                    ],
                    "trialSpec": {
                        "apiVersion": "batch/v1",
                        "kind": "Job",
                        "spec": {"template": {"spec": {"restartPolicy": "Never", **spec}}},
                    },
                },
            },
        }
    )


def _parameter(one: Parameter) -> dict[str, Any]:
    if one.type == "categorical":
        return {"name": one.name, "parameterType": "categorical", "feasibleSpace": {"list": [str(x) for x in one.choices]}}
    shown = (lambda value: str(int(value))) if one.type == "int" else str
    space = {"min": shown(one.low), "max": shown(one.high)}
    if one.log:
        space["distribution"] = "logUniform"
    return {"name": one.name, "parameterType": _TYPES[one.type], "feasibleSpace": space}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
