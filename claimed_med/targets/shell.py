"""A step as shell text: the same words in an Airflow task, a Slurm job, an Argo template and a Kubernetes Job.

The text reads pipeline parameters from the environment (`PARAMETER_<name>`) and finds the run folder in RUN_FOLDER. It
ends with the step's exit code, and with 99 when a condition of the step does not hold.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from claimed_med.targets.plan import SKIPPED, environment_name

if TYPE_CHECKING:
    from claimed_med.targets.plan import Condition, Source, Step

RUN_FOLDER = "RUN_FOLDER"
PROGRAM = "claimed-med"


def script(step: Step) -> str:
    """All of a step: the conditions, then the component in place of the shell."""
    lines = [condition(one) for one in step.conditions]
    return "\n".join([*lines, f"exec {command(step)}"]) + "\n"


def condition(one: Condition) -> str:
    """One line that ends the step with 99 when a condition does not hold, and with an error when it is none."""
    given = "".join(f" {shlex.quote(name)}={word(source)}" for name, source in one.values.items())
    return f"{PROGRAM} pipeline when {shlex.quote(one.text)}{given} || exit $?"


def command(step: Step, *, extra: str = "") -> str:
    """The component's command line, one option a line.

    Args:
        step: What is run.
        extra: More words.
    """
    first, *rest = (word(source, step) for source in step.words)
    pairs = [" ".join(rest[index : index + 2]) for index in range(0, len(rest), 2)]
    return " \\\n  ".join([f"{PROGRAM} run {first}", *pairs, *([extra] if extra else [])])


def word(source: Source, step: Step | None = None) -> str:
    """One word of a command line; never taken apart by the shell, whatever it holds."""
    if source.kind == "text":
        return shlex.quote(source.name)
    if source.kind == "parameter":
        return f'"${environment_name(source.name)}"'
    place = step.place if source.kind == "own" and step else source.step
    path = f"${RUN_FOLDER}/{place}/{source.name}"
    return f'"$(cat "{path}")"' if source.kind == "value" else f'"{path}"'


def ends_with() -> str:
    """What the exit codes mean, for a comment."""
    return f"exit codes: 0 done, {SKIPPED} a condition does not hold, others as of claimed-med"
