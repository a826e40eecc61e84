"""A compiled pipeline as a flat plan: sub-pipelines opened, loops over known items unrolled, conditions collected."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from claimed_med import registry
from claimed_med.engines.flow import kind_of
from claimed_med.engines.ir import NAME, NAMES, Pipeline, as_text, constant
from claimed_med.errors import EngineError
from claimed_med.targets.plan import Condition, Parameter, Plan, Source, Step

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass
class _Scope:
    """What the tasks of one DAG see: its inputs, where it lies, and under which conditions it runs."""

    place: str = ""
    parameters: dict[str, Source] = field(default_factory=dict)
    artifacts: dict[str, Source] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    made: dict[str, _Made] = field(default_factory=dict)


@dataclass
class _Made:
    """What a task left behind: its steps, and its outputs by name."""

    steps: tuple[str, ...]
    outputs: dict[str, Source]


def flatten(pipeline: Pipeline, summary: str = "") -> Plan:
    """The plan of a pipeline.

    Args:
        pipeline: Loaded and checked.
        summary: What it does.

    Raises:
        EngineError: A loop whose items are known only at run time, outputs that such a plan cannot hand on, or names
            that a shell would not take as they are.
    """
    declared = pipeline.parameters()
    scope = _Scope(parameters={name: Source("parameter", name) for name in declared})
    steps: list[Step] = []
    _dag(pipeline, pipeline.root["dag"], scope, steps)
    parameters = tuple(_parameter(name, told) for name, told in declared.items())
    plan = Plan(pipeline.name, _one_line(summary), parameters, tuple(steps))
    _check_names(plan)
    return plan


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _check_names(plan: Plan) -> None:
    """Whatever the targets write without quotes: names of parameters (variables of a shell), of steps and of ports."""
    sources = [word for step in plan.steps for word in step.words]
    sources += [one for step in plan.steps for condition in step.conditions for one in condition.values.values()]
    names = [name for step in plan.steps for name in step.place.split("/")]
    names += [one.name for one in sources if one.kind in {"value", "folder", "own"}]
    odd = [name for name in names if not NAME.fullmatch(name)]
    odd += [one.name for one in plan.parameters if not (one.name.isascii() and one.name.isidentifier())]
    if odd:
        told = ", ".join(sorted({repr(name) for name in odd}))
        allowed = f"{NAMES}; for parameters those of Python"
        raise EngineError(plan.name, "names that are not plain", got=told, allowed=allowed, do="rename them")


def _parameter(name: str, told: Mapping[str, Any]) -> Parameter:
    kind = told.get("parameterType", "STRING")
    value = told.get("defaultValue", "" if told.get("isOptional") else None)
    default = None if value is None else as_text(value, kind)
    return Parameter(name, kind, default, _one_line(told.get("description", "")))


def _dag(pipeline: Pipeline, dag: Mapping[str, Any], scope: _Scope, steps: list[Step]) -> None:
    for name in _ordered(dag.get("tasks", {})):
        scope.made[name] = _task(pipeline, name, dag["tasks"][name], scope, steps)


def _ordered(tasks: Mapping[str, Any]) -> list[str]:
    done: list[str] = []
    left = dict(tasks)
    while left:
        ready = [name for name, task in left.items() if not set(task.get("dependentTasks", ())) & set(left)]
        if not ready:
            raise EngineError("pipeline", "tasks wait for one another", got=", ".join(left))
        done += ready
        for name in ready:
            del left[name]
    return done


def _task(pipeline: Pipeline, name: str, task: Mapping[str, Any], scope: _Scope, steps: list[Step]) -> _Made:
    component = pipeline.components[task["componentRef"]["name"]]
    inner = _inputs(component, task, scope)
    inner.place = f"{scope.place}{name}"
    before = [step for other in task.get("dependentTasks", ()) for step in scope.made[other].steps]
    inner.after = (*scope.after, *(step for step in dict.fromkeys(before) if step not in scope.after))
    inner.conditions = scope.conditions
    policy = task.get("triggerPolicy", {})
    if policy.get("condition"):
        text = policy["condition"]
        used = {one: source for one, source in inner.parameters.items() if f"'{one}'" in text}
        inner.conditions = (*scope.conditions, Condition(text, used))
    if "parameterIterator" in task:
        return _loop(pipeline, task, component, inner, steps)
    if "dag" in component:
        return _opened(pipeline, component, inner, steps)
    step = _step(pipeline, task, component, inner)
    steps.append(step)
    values = component.get("outputDefinitions", {}).get("parameters", {})
    outputs = {port: Source("value" if port in values else "folder", port, step.place) for port in step.outputs}
    return _Made((step.place,), outputs)


def _opened(pipeline: Pipeline, component: Mapping[str, Any], inner: _Scope, steps: list[Step]) -> _Made:
    first = len(steps)
    inner.place += "/"
    _dag(pipeline, component["dag"], inner, steps)
    return _Made(tuple(one.place for one in steps[first:]), _handed_on(component["dag"], inner))


def _handed_on(dag: Mapping[str, Any], inner: _Scope) -> dict[str, Source]:
    """Outputs of a sub-pipeline that come from one task; of a choice between several nothing is known here."""
    told = dag.get("outputs", {})
    found = {}
    for name, one in told.get("parameters", {}).items():
        chosen = one.get("valueFromParameter")
        if chosen:
            found[name] = inner.made[chosen["producerSubtask"]].outputs[chosen["outputParameterKey"]]
    for name, one in told.get("artifacts", {}).items():
        selectors = one.get("artifactSelectors", [])
        if len(selectors) == 1:
            (chosen,) = selectors
            found[name] = inner.made[chosen["producerSubtask"]].outputs[chosen["outputArtifactKey"]]
    return found


def _loop(
    pipeline: Pipeline, task: Mapping[str, Any], component: Mapping[str, Any], inner: _Scope, steps: list[Step]
) -> _Made:
    items = task["parameterIterator"]["items"]
    known = Source("text", items["raw"]) if "raw" in items else inner.parameters[items["inputParameter"]]
    if known.kind != "text":
        raise EngineError(
            pipeline.name,
            "a loop whose items are known only when it runs",
            got=inner.place,
            do="use --engine local or kubeflow, or write the items into the pipeline",
        )
    made: list[str] = []
    for index, item in enumerate(json.loads(known.name)):
        one = replace(inner, place=f"{inner.place}-{index}", made={})
        text = Source("text", as_text(item, "STRING"))
        one.parameters = {**inner.parameters, task["parameterIterator"]["itemInput"]: text}
        made += _opened(pipeline, component, one, steps).steps
    return _Made(tuple(made), {})


def _inputs(component: Mapping[str, Any], task: Mapping[str, Any], scope: _Scope) -> _Scope:
    told = task.get("inputs", {})
    found = _Scope()
    for name, source in told.get("parameters", {}).items():
        if "runtimeValue" in source:
            value = as_text(constant(source["runtimeValue"]), kind_of(component, name))
            found.parameters[name] = Source("text", value)
        elif "componentInputParameter" in source:
            if source["componentInputParameter"] in scope.parameters:
                found.parameters[name] = scope.parameters[source["componentInputParameter"]]
        else:
            origin = source["taskOutputParameter"]
            found.parameters[name] = _output(scope, origin["producerTask"], origin["outputParameterKey"])
        if "parameterExpressionSelector" in source and name in found.parameters:
            found.parameters[name] = _selected(found.parameters[name], source["parameterExpressionSelector"])
    for name, source in told.get("artifacts", {}).items():
        if "componentInputArtifact" in source:
            found.artifacts[name] = scope.artifacts[source["componentInputArtifact"]]
        else:
            origin = source["taskOutputArtifact"]
            found.artifacts[name] = _output(scope, origin["producerTask"], origin["outputArtifactKey"])
    for name, told_of in component.get("inputDefinitions", {}).get("parameters", {}).items():
        if name not in found.parameters and "defaultValue" in told_of:
            found.parameters[name] = Source("text", as_text(told_of["defaultValue"], kind_of(component, name)))
    return found


def _output(scope: _Scope, task: str, key: str) -> Source:
    if key not in scope.made[task].outputs:
        raise EngineError(
            "pipeline",
            "an output that is a choice between tasks, or is collected from a loop",
            got=f"{task}: {key}",
            do="use --engine local or kubeflow",
        )
    return scope.made[task].outputs[key]


def _selected(source: Source, expression: str) -> Source:
    if source.kind != "text":
        raise EngineError("pipeline", "an item of a structure that is known only at run time", got=expression)
    key = expression.removeprefix('parseJson(string_value)["').removesuffix('"]')
    return Source("text", as_text(json.loads(source.name)[key], "STRING"))


def _step(pipeline: Pipeline, task: Mapping[str, Any], component: Mapping[str, Any], inner: _Scope) -> Step:
    container = pipeline.container(dict(component))
    found = registry.get(container["command"][2])
    contract = found.contract
    name = str(found.path) if contract.category == "local" else contract.name
    words = [Source("text", name), *(_word(one, inner) for one in container.get("args", []))]
    policy = task.get("triggerPolicy", {})
    return Step(
        place=inner.place,
        component=contract.name,
        image=contract.image,
        version=contract.version,
        over=contract.over,
        threads=contract.threads,
        talks=contract.talks,
        words=tuple(words),
        after=inner.after,
        always=policy.get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED",
        conditions=inner.conditions,
        retries=int(task.get("retryPolicy", {}).get("maxRetryCount", 0)),
        locations=tuple(one.name for one in contract.settings if one.is_location),
        values=tuple(port.name for port in contract.outputs if port.is_value),
    )


def _word(word: str, inner: _Scope) -> Source:
    if not word.startswith("{{$."):
        return Source("text", word)
    name = word.split("'")[1]
    if ".inputs.parameters" in word:
        return inner.parameters[name]
    return inner.artifacts[name] if ".inputs.artifacts" in word else Source("own", name)
