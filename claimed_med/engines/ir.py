"""Read a compiled pipeline (Kubeflow IR 2.1.0) and refuse, by name and before anything runs, what is not understood."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from claimed_med.engines.condition import check as check_condition
from claimed_med.errors import EngineError

if TYPE_CHECKING:
    from types import ModuleType

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLACEHOLDER = re.compile(r"\{\{\$(.*?)\}\}", re.DOTALL)
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")  # becomes a folder, a file, and a word of a shell
NAMES = "letters, digits, . _ -, and no . or - in front"
_KNOWN = re.compile(
    r"\.(inputs\.parameters\['[^']+'\]|inputs\.artifacts\['[^']+'\]\.(path|uri)"
    r"|outputs\.artifacts\['[^']+'\]\.(path|uri)|outputs\.parameters\['[^']+'\]\.output_file)"
)


@dataclass(frozen=True)
class Pipeline:
    """A compiled pipeline.

    Attributes:
        name: As in pipelineInfo.
        components: Name -> component specification.
        executors: Label -> container specification.
        root: The component that is the whole pipeline.
    """

    name: str
    components: dict[str, Any] = field(repr=False)
    executors: dict[str, Any] = field(repr=False)
    root: dict[str, Any] = field(repr=False)

    def parameters(self) -> dict[str, dict[str, Any]]:
        """Pipeline parameters: name -> type, default and whether it may be left out."""
        return dict(self.root.get("inputDefinitions", {}).get("parameters", {}))

    def as_dict(self) -> dict[str, Any]:
        """The pipeline as a document that `load` reads again."""
        return {
            "pipelineInfo": {"name": self.name},
            "schemaVersion": "2.1.0",
            "components": self.components,
            "deploymentSpec": {"executors": self.executors},
            "root": self.root,
        }

    def container(self, component: dict[str, Any]) -> dict[str, Any]:
        """The container of a component that is not a DAG."""
        return dict(self.executors[component["executorLabel"]]["container"])


def load(path: Path, *, foreign: bool = False) -> Pipeline:
    """Read and check an IR file.

    Args:
        path: The file.
        foreign: Whether containers that are none of our components are allowed.

    Raises:
        EngineError: It is no valid IR, or holds a construct that this engine does not run.
    """
    try:
        documents = [one for one in yaml.load_all(path.read_text(encoding="utf-8"), _LOADER) if one]
    except (OSError, yaml.YAMLError):
        raise EngineError("pipeline", "the compiled pipeline cannot be read", do="compile it again") from None
    if not documents:
        raise EngineError("pipeline", "the compiled pipeline is empty", do="compile it again")
    content = documents[0]
    _validate(content)
    found = Pipeline(
        content["pipelineInfo"]["name"],
        content.get("components", {}),
        content["deploymentSpec"]["executors"],
        content["root"],
    )
    _check_names(found)
    listed = [found.root, *found.components.values()]
    faults = sorted({fault for one in listed for fault in _faults(found, one, foreign=foreign)})
    if faults:
        raise EngineError(
            "pipeline",
            "this engine does not run: " + "; ".join(faults),
            do="use another engine, or rewrite the pipeline",
        )
    return found


def specification() -> ModuleType:
    """The protobuf module of kfp-pipeline-spec, loaded without importing kfp (which takes a second)."""
    name = "kfp.pipeline_spec.pipeline_spec_pb2"
    if name in sys.modules:
        return sys.modules[name]
    for folder in sys.path:
        file = Path(folder or ".") / "kfp" / "pipeline_spec" / "pipeline_spec_pb2.py"
        if file.is_file():
            spec = importlib.util.spec_from_file_location("claimed_med_pipeline_spec_pb2", file)
            if spec is not None and spec.loader is not None:
                module = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(module)
                sys.modules[name] = module
                return module
    raise EngineError("pipeline", "the package kfp-pipeline-spec is missing", do="run: pip install claimed_med")


def _validate(content: Any) -> None:
    from google.protobuf import json_format

    try:
        json_format.ParseDict(content, specification().PipelineSpec())
    except (json_format.ParseError, TypeError, AttributeError) as error:
        told = str(error).splitlines()[0][:200]
        raise EngineError("pipeline", f"the file is no valid pipeline: {told}", do="compile it again") from None


def _check_names(pipeline: Pipeline) -> None:
    """Refuse names that would leave the run folder, or that a shell would not take as they are."""
    names = [pipeline.name]
    for component in (pipeline.root, *pipeline.components.values()):
        names += component.get("dag", {}).get("tasks", {})
        for part in ("inputDefinitions", "outputDefinitions"):
            names += [name for kind in component.get(part, {}).values() for name in kind]
    odd = sorted({repr(name) for name in names if not NAME.fullmatch(name)})
    if odd:
        raise EngineError(
            "pipeline",
            "names of the pipeline, its tasks, parameters and ports must be plain",
            got=", ".join(odd),
            allowed=NAMES,
            do="rename them; a pipeline of somebody else with such names may not be what it seems",
        )


def _faults(pipeline: Pipeline, component: dict[str, Any], *, foreign: bool) -> list[str]:
    if "dag" in component:
        return [
            fault
            for name, task in component["dag"].get("tasks", {}).items()
            for fault in _task_faults(pipeline, name, task)
        ]
    label = component.get("executorLabel", "")
    executor = pipeline.executors.get(label, {})
    if "container" not in executor:
        return [f"executor {label} of kind {', '.join(executor) or 'unknown'}"]
    container = executor["container"]
    if container.get("command", [])[:2] != ["claimed-med", "run"] and not foreign:
        return [f"foreign container {container.get('image', '')} ({label})"]
    parts = [*container.get("command", []), *container.get("args", [])]
    words = [word for part in parts for word in _PLACEHOLDER.findall(part)]
    return [f"placeholder {{{{${word}}}}} in {label}" for word in words if not _KNOWN.fullmatch(word)]


def _task_faults(pipeline: Pipeline, name: str, task: dict[str, Any]) -> list[str]:
    faults = []
    if task["componentRef"]["name"] not in pipeline.components:
        faults.append(f"task {name}: its component is missing")
    if "artifactIterator" in task:
        faults.append(f"task {name}: a loop over artifacts")
    condition = task.get("triggerPolicy", {}).get("condition", "")
    if condition and not check_condition(condition):
        faults.append(f"task {name}: the condition {condition}")
    strategy = task.get("triggerPolicy", {}).get("strategy", "")
    if strategy not in {
        "",
        "TRIGGER_STRATEGY_UNSPECIFIED",
        "ALL_UPSTREAM_TASKS_SUCCEEDED",
        "ALL_UPSTREAM_TASKS_COMPLETED",
    }:
        faults.append(f"task {name}: the strategy {strategy}")
    values = task.get("inputs", {}).get("parameters", {}).values()
    faults += [f"task {name}: the final status as an input" for value in values if "taskFinalStatus" in value]
    return faults


def constant(value: Any) -> Any:
    """A runtime value of the IR as a Python value."""
    return value.get("constant") if isinstance(value, dict) else value


def as_text(value: Any, kind: str) -> str:
    """A parameter as the word that a container gets: booleans as `true|false`, lists and structures as JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        return json.dumps(value)
    if kind == "NUMBER_INTEGER" and isinstance(value, float) and value == int(value):
        return str(int(value))
    return str(value)
