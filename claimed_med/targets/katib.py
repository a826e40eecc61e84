"""Contract and search space in, a Katib Experiment out: the same search as `search-hyperparameters`, on a cluster."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from claimed_med.emit import to_yaml
from claimed_med.errors import ContractError
from claimed_med.searchspace import Parameter, Space
from claimed_med.targets.pod import WORK
from claimed_med.targets.training_job import Platform, arguments, command, pod

if TYPE_CHECKING:
    from claimed_med.component import Contract

PARALLEL = 2
RETRIES = 2
_TYPES = {"float": "double", "int": "int", "categorical": "categorical"}
_PARTS = ("training", "compute", "augment")
_CONTAINER, _TRIAL = "training", "trialName"


class _Verbatim(str):
    """A piece of TOML that is written as it is."""

    __slots__ = ()


def render(
    contract: Contract,
    *,
    settings: Mapping[str, Any],
    platform: Platform,
    space: Space,
    recipe: Mapping[str, Any] | None = None,
) -> str:
    """One YAML document; every trial is a Job of one pod that runs the training component with other settings.

    Args:
        contract: Of the training component.
        settings: Those that differ from their defaults and are not searched; `seed` also seeds the algorithm.
        platform: The cluster's values; one node.
        space: What is searched.
        recipe: The recipe as plain values: into it go the parameters that are no settings of the component.

    Raises:
        ContractError: More than one node, a setting that is also searched, or a parameter that has no place.
    """
    if platform.n_nodes != 1:
        raise ContractError(contract.name, "a trial has one node", got=platform.n_nodes, allowed="1")
    line = [*command(platform.n_processes), *_words(contract, settings, platform, space, recipe)]
    # Katib joins the words of a container with blanks and hands them to a shell: the line is quoted here
    words = {"command": ["sh", "-c"], "args": [shlex.join(line)]}
    trial = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "spec": {
            "backoffLimit": RETRIES,
            "template": {
                "metadata": {"annotations": {"sidecar.istio.io/inject": "false"}},
                "spec": {"restartPolicy": "Never", **pod(contract, platform, _CONTAINER, words)},
            },
        },
    }
    return to_yaml(
        {
            "apiVersion": "kubeflow.org/v1beta1",
            "kind": "Experiment",
            "metadata": {"name": platform.name},
            "spec": {
                "objective": {"type": space.direction, "objectiveMetricName": space.objective},
                "algorithm": {
                    "algorithmName": "tpe",
                    "algorithmSettings": [{"name": "random_state", "value": str(settings.get("seed", 0))}],
                },
                "parallelTrialCount": min(PARALLEL, space.n_trials),
                "maxTrialCount": space.n_trials,
                "maxFailedTrialCount": max(1, space.n_trials // 4),
                "metricsCollectorSpec": {"collector": {"kind": "StdOut"}},
                "parameters": [_parameter(one) for one in space.parameters],
                "trialTemplate": {
                    "primaryContainerName": _CONTAINER,
                    "trialParameters": [
                        *({"name": one.name, "reference": one.name} for one in space.parameters),
                        {"name": _TRIAL, "reference": "${trialSpec.Name}"},
                    ],
                    "trialSpec": trial,
                },
            },
        }
    )


def _words(
    contract: Contract,
    settings: Mapping[str, Any],
    platform: Platform,
    space: Space,
    recipe: Mapping[str, Any] | None,
) -> list[str]:
    own = {one.name for one in contract.settings}
    both = [one.name for one in space.parameters if one.name in settings]
    if both:
        raise ContractError(contract.name, "a setting is also searched", got=", ".join(both), do="give it in one place")
    given = {**settings, **{one.name: _placeholder(one.name) for one in space.parameters if one.name in own}}
    rest = [one for one in space.parameters if one.name not in own]
    if rest:
        if recipe is None or "recipe" not in own:
            names = ", ".join(one.name for one in rest)
            raise ContractError(contract.name, "parameters are no settings", got=names, allowed=", ".join(sorted(own)))
        given["recipe"] = _recipe(recipe, rest)
    # trials run beside one another: each has a folder of its own
    return arguments(contract, platform, given, f"{WORK}/out/{platform.name}/{_placeholder(_TRIAL)}")


def _parameter(one: Parameter) -> dict[str, Any]:
    space: dict[str, Any] = {"list": [_text(choice) for choice in one.choices]}
    if one.type != "categorical":
        space = {"min": _text(one.low), "max": _text(one.high)}
        if one.log:
            space["distribution"] = "logUniform"
    return {"name": one.name, "parameterType": _TYPES[one.type], "feasibleSpace": space}


def _recipe(recipe: Mapping[str, Any], drawn: list[Parameter]) -> str:
    """The recipe as TOML, with placeholders where Katib puts what it has drawn."""
    content = {name: dict(one) if isinstance(one, Mapping) else one for name, one in recipe.items()}
    for one in drawn:
        place = next((part for part in _PARTS if one.name in content.get(part, {})), "network")
        quoted = any(isinstance(choice, str) for choice in one.choices)
        content[place][one.name] = _Verbatim(f'"{_placeholder(one.name)}"' if quoted else _placeholder(one.name))
    tables = {name: one for name, one in content.items() if isinstance(one, dict)}
    lines = [f"{name} = {_toml(one)}" for name, one in content.items() if name not in tables]
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {_toml(one)}" for key, one in table.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, _Verbatim):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


def _placeholder(name: str) -> str:
    return f"${{trialParameters.{name}}}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
