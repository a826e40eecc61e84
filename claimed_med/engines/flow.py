"""What flows between the tasks of a pipeline: parameters and artifacts, through DAGs and conditions."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from claimed_med.engines.ir import Pipeline, constant
from claimed_med.errors import ContractError, EngineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from concurrent.futures import Future
    from pathlib import Path

_PARAMETER, _ARTIFACT = "parameters", "artifacts"
_PLACEHOLDER = re.compile(r"\{\{\$\.(inputs|outputs)\.(parameters|artifacts)\['([^']+)'\](?:\.\w+)?\}\}")


@dataclass
class Values:
    """What flows between tasks: parameters, and artifacts as (folder, payload digest)."""

    parameters: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, tuple[Path, str]] = field(default_factory=dict)


class Skipped(Exception):  # noqa: N818 - an outcome of a task
    """A task that was not run: its condition is false, or a task before it failed or was skipped."""


class Failed(Exception):  # noqa: N818 - an outcome of a task
    """A task that failed; carries the exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(str(code))
        self.code = code


def parameters_of(pipeline: Pipeline, given: Mapping[str, Any]) -> dict[str, Any]:
    """Pipeline parameters with their types, defaults included; texts are converted.

    Raises:
        ContractError: An unknown name, a missing value, or a text of another type.
    """
    values = typed(pipeline, given)
    for name, told in pipeline.parameters().items():
        if name not in values:
            if "defaultValue" not in told and not told.get("isOptional"):
                raise ContractError(pipeline.name, f"parameter {name} has no value", do=f"add --set {name}=VALUE")
            values[name] = told.get("defaultValue", "")
    return values


def typed(pipeline: Pipeline, given: Mapping[str, Any]) -> dict[str, Any]:
    """The given parameters with their types; texts are converted.

    Raises:
        ContractError: An unknown name, or a text of another type.
    """
    declared = pipeline.parameters()
    unknown = sorted(set(given) - set(declared))
    if unknown:
        allowed = ", ".join(sorted(declared)) or "none"
        raise ContractError(pipeline.name, "unknown parameter", got=", ".join(unknown), allowed=allowed)
    kinds = {name: told.get("parameterType", "STRING") for name, told in declared.items()}
    try:
        return {name: _converted(kinds[name], name, value) for name, value in given.items()}
    except _OtherTypeError as error:
        raise ContractError(pipeline.name, f"parameter {error.args[0]}", got=repr(given[error.args[1]])) from None


class _OtherTypeError(ValueError):
    """A text that is no value of the declared type: what it must be, and whose it is."""


def _converted(kind: str, name: str, text: Any) -> Any:
    try:
        if kind == "STRING" or not isinstance(text, str):
            return text
        if kind == "NUMBER_INTEGER":
            return int(text)
        return {"NUMBER_DOUBLE": float}.get(kind, json.loads)(text)
    except ValueError:
        raise _OtherTypeError(f"{name} must be a {kind.lower().replace('_', ' ')}", name) from None


def inputs_of(task: Mapping[str, Any], values: Values, done: Mapping[str, Future[Values]]) -> Values:
    """What flows into a task, out of the DAG's inputs and the results of earlier tasks."""
    told = task.get("inputs", {})
    found = Values()
    for name, source in told.get(_PARAMETER, {}).items():
        if "runtimeValue" in source:
            found.parameters[name] = constant(source["runtimeValue"])
        elif "componentInputParameter" in source:
            if source["componentInputParameter"] in values.parameters:
                found.parameters[name] = values.parameters[source["componentInputParameter"]]
        else:
            origin = source["taskOutputParameter"]
            found.parameters[name] = done[origin["producerTask"]].result().parameters[origin["outputParameterKey"]]
        if "parameterExpressionSelector" in source and name in found.parameters:
            found.parameters[name] = _selected(found.parameters[name], source["parameterExpressionSelector"])
    for name, source in told.get(_ARTIFACT, {}).items():
        if "componentInputArtifact" in source:
            found.artifacts[name] = values.artifacts[source["componentInputArtifact"]]
        else:
            origin = source["taskOutputArtifact"]
            found.artifacts[name] = done[origin["producerTask"]].result().artifacts[origin["outputArtifactKey"]]
    return found


def _selected(value: Any, expression: str) -> Any:
    """`parseJson(string_value)["key"]`: one item of a structure that a loop runs over."""
    key = expression.removeprefix('parseJson(string_value)["').removesuffix('"]')
    return (json.loads(value) if isinstance(value, str) else value)[key]


def fill_defaults(component: Mapping[str, Any], inputs: Values) -> None:
    """Give parameters that nobody set their defaults, in place."""
    for name, told in component.get("inputDefinitions", {}).get(_PARAMETER, {}).items():
        if name not in inputs.parameters and "defaultValue" in told:
            inputs.parameters[name] = told["defaultValue"]


def kind_of(component: Mapping[str, Any], name: str) -> str:
    """Return the declared type of a parameter."""
    return str(component.get("inputDefinitions", {}).get(_PARAMETER, {}).get(name, {}).get("parameterType", "STRING"))


def words_of(words: Iterable[str], texts: Mapping[str, str], places: Mapping[str, str], outputs: str) -> list[str]:
    """The words of a container's command line, their placeholders filled.

    Args:
        words: As in the compiled pipeline.
        texts: Parameter -> text.
        places: Input artifact -> where the container finds it.
        outputs: The folder in which it finds the place of every output.
    """

    def filled(found: re.Match[str]) -> str:
        way, kind, name = found.groups()
        if way == "outputs":
            return f"{outputs}/{name}"
        return texts.get(name, "") if kind == _PARAMETER else places[name]

    return [_PLACEHOLDER.sub(filled, word) for word in words]


def results_of(
    component: Mapping[str, Any], ports: Mapping[str, Path], digests: Mapping[str, str], values: Mapping[str, str]
) -> Values:
    """What a finished container task hands on.

    Raises:
        EngineError: A value that it wrote is of another type than it declares.
    """
    kinds = component.get("outputDefinitions", {}).get(_PARAMETER, {})
    try:
        parameters = {
            name: _converted(kinds.get(name, {}).get("parameterType", "STRING"), name, text)
            for name, text in values.items()
        }
    except _OtherTypeError as error:
        raise EngineError("task", f"output {error.args[0]}", got=repr(values[error.args[1]])) from None
    return Values(parameters, {name: (path, digests[name]) for name, path in ports.items()})


def outputs_of(dag: Mapping[str, Any], done: Mapping[str, Future[Values]]) -> Values:
    """What a finished container task hands on."""
    found = Values()
    told = dag.get("outputs", {})
    for name, source in told.get(_PARAMETER, {}).items():
        selectors = source.get("valueFromOneof", {}).get("parameterSelectors") or [source["valueFromParameter"]]
        for one in selectors:
            result = done[one["producerSubtask"]]
            if result.exception() is None:
                found.parameters[name] = result.result().parameters.get(one["outputParameterKey"])
                break
    for name, source in told.get(_ARTIFACT, {}).items():
        for one in source.get("artifactSelectors", []):
            result = done[one["producerSubtask"]]
            if result.exception() is None and one["outputArtifactKey"] in result.result().artifacts:
                found.artifacts[name] = result.result().artifacts[one["outputArtifactKey"]]
                break
    return found
