"""A pipeline as a flat list of steps: what every target without sub-pipelines of its own is made from.

Loops are unrolled and sub-pipelines are opened; what is left are steps, each one component on folders, the steps that
it waits for, and the conditions under which it runs. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["text", "parameter", "value", "folder", "own"]
ENGINES = ("local", "kubeflow", "airflow", "slurm")
SKIPPED = 99  # exit code of a step whose condition is false; Airflow's own, too


@dataclass(frozen=True)
class Source:
    """Where a word of a command line comes from.

    Attributes:
        kind: `text` (the word itself), `parameter` (of the pipeline), `value` (text file of an earlier step), `folder`
            (of an earlier step), `own` (a place for an output of this step).
        name: The text; the parameter's name; the port's name.
        step: Place of the earlier step, for `value` and `folder`.
    """

    kind: Kind
    name: str
    step: str = ""


@dataclass(frozen=True)
class Condition:
    """A comparison that must hold, as kfp compiles it.

    Attributes:
        text: `int(inputs.parameter_values['x']) > 0`.
        values: Name in the text -> where its value comes from.
    """

    text: str
    values: Mapping[str, Source]


@dataclass(frozen=True)
class Step:
    """One component on folders.

    Attributes:
        place: Where its outputs lie below the run folder: `condition-1/segment-brain`; unique.
        component: Its name.
        image: Extra and container image that it needs.
        version: Of the component.
        over: Unit of work over which it is mapped, or ''.
        threads: Threads that one unit uses.
        talks: Whether it talks to a server.
        words: Its command line after `claimed-med run`, component first.
        after: Places of the steps that it waits for.
        always: Whether it also runs when a step before it failed.
        conditions: All must hold.
        retries: How often a failure is tried again.
        locations: Names of the settings through which data enter.
        values: Output ports that are values (text files), not folders.
    """

    place: str
    component: str
    image: str
    version: str
    over: str
    threads: int
    talks: bool
    words: tuple[Source, ...]
    after: tuple[str, ...] = ()
    always: bool = False
    conditions: tuple[Condition, ...] = ()
    retries: int = 0
    locations: tuple[str, ...] = ()
    values: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The place as a name without slashes: `condition-1.segment-brain`."""
        return self.place.replace("/", ".")

    @property
    def outputs(self) -> list[str]:
        """Its output ports."""
        return [word.name for word in self.words if word.kind == "own"]


@dataclass(frozen=True)
class Parameter:
    """A parameter of the pipeline.

    Attributes:
        name: As in the signature.
        kind: As in the IR: STRING, NUMBER_INTEGER, NUMBER_DOUBLE, BOOLEAN, LIST, STRUCT.
        default: Its default as one word, or None where it must be given.
        summary: What it means.
    """

    name: str
    kind: str
    default: str | None
    summary: str


@dataclass(frozen=True)
class Plan:
    """A whole pipeline.

    Attributes:
        name: As in `pipelineInfo`.
        summary: One line.
        parameters: In the order of the IR.
        steps: Each after the ones that it waits for.
    """

    name: str
    summary: str
    parameters: tuple[Parameter, ...]
    steps: tuple[Step, ...] = field(default_factory=tuple)

    def step(self, place: str) -> Step:
        """The step of that place."""
        return next(one for one in self.steps if one.place == place)


def environment_name(parameter: str) -> str:
    """The environment variable that carries a pipeline parameter into a step."""
    return f"PARAMETER_{parameter}"


def as_json_type(parameter: Parameter) -> str:
    """The JSON type of a parameter."""
    kinds = {"NUMBER_INTEGER": "integer", "NUMBER_DOUBLE": "number", "BOOLEAN": "boolean", "LIST": "array"}
    return kinds.get(parameter.kind, "object" if parameter.kind == "STRUCT" else "string")


def default_of(parameter: Parameter) -> Any:
    """The default as a value of its JSON type."""
    import json

    kind = as_json_type(parameter)
    return parameter.default if kind == "string" or parameter.default is None else json.loads(parameter.default)
