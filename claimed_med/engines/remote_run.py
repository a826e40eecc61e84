"""What all engines of others have in common: parameters as environment, and a report made of what was left on disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimed_med.engines.flow import parameters_of
from claimed_med.engines.ir import Pipeline, as_text
from claimed_med.provenance import runfile
from claimed_med.remote import is_remote
from claimed_med.targets.plan import Plan, Step

if TYPE_CHECKING:
    from collections.abc import Mapping


def texts_of(pipeline: Pipeline, plan: Plan, given: Mapping[str, Any]) -> dict[str, str]:
    """Every pipeline parameter as one word; paths through which data enter made absolute.

    Args:
        pipeline: Loaded and checked.
        plan: The same, flat.
        given: By name, as texts.

    Raises:
        ContractError: A parameter that the pipeline does not have, or one without a value.
    """
    kinds = {one.name: one.kind for one in plan.parameters}
    texts = {name: as_text(value, kinds[name]) for name, value in parameters_of(pipeline, given).items()}
    for name in _locations(plan):
        if texts[name] and not is_remote(texts[name]):
            texts[name] = str(Path(texts[name]).resolve())
    return texts


def write_run_file(out: Path, pipeline: Pipeline, given: Mapping[str, Any], engine: str) -> None:
    """Write `run.json`, from which the run can be done again, as the local engine does.

    Args:
        out: The run folder.
        pipeline: Loaded and checked.
        given: Pipeline parameters by name, as texts.
        engine: Name of the engine.

    Raises:
        ContractError: A parameter that the pipeline does not have, or one without a value.
    """
    described = runfile.describe(pipeline.name, pipeline.as_dict(), parameters_of(pipeline, given), engine)
    runfile.write(out, described)


def ports_of(step: Step, out: Path) -> dict[str, Path]:
    """Output port -> folder of a step below the run folder, where the folder is there."""
    places = {port: out / step.place / port for port in step.outputs}
    return {port: place for port, place in places.items() if place.is_dir()}


def environment_with_program() -> dict[str, str]:
    """This environment, with the `claimed-med` of this very installation first on the path."""
    import sys

    folder = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": os.pathsep.join([folder, os.environ.get("PATH", "")])}


def _locations(plan: Plan) -> set[str]:
    found = set()
    for step in plan.steps:
        options = {"--" + name.replace("_", "-") for name in step.locations}
        for option, value in zip(step.words, step.words[1:], strict=False):
            if option.kind == "text" and option.name in options and value.kind == "parameter":
                found.add(value.name)
    return found
