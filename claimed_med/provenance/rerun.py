"""Run again what a record describes, and compare every output with what it lists.

Paths and servers are never recorded. Tasks through which data enter or leave are therefore taken from the run folder
(their outputs are checked against the records), unless their place is given again.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimed_med import lineage, registry
from claimed_med.component import parse_argument, to_argument
from claimed_med.errors import (
    ClaimedMedError,
    ContractError,
    EngineError,
    InputError,
    MissingDependencyError,
    ModelError,
    OutputError,
    RefusedError,
)
from claimed_med.payload import LINEAGE
from claimed_med.provenance import runfile
from claimed_med.provenance.check import check
from claimed_med.provenance.compare import DIFFERENT, Compared, compare, compare_value
from claimed_med.provenance.diff import Difference, of_records, records_below

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from claimed_med.contract import Contract

_MOST_NAMED = 5
_WHERE, _HERE = "lineage rerun", "local"
_KINDS = (ContractError, InputError, MissingDependencyError, ModelError, RefusedError, OutputError)
_BY_CODE = {one.exit_code: one for one in _KINDS}  # all else is the engine's


@dataclass(frozen=True)
class Order:
    """How a run is to be done again.

    Attributes:
        given: Parameter or setting -> text: places that were not recorded, and whatever is to be changed on purpose.
        inputs: Input port -> path, for a run of one component.
        engine: Where a pipeline runs.
        platform: TOML file of the site, for an engine that needs one.
        tolerance: Largest absolute difference of voxels and numbers that counts as equal.

    Raises:
        ContractError: The tolerance is no distance.
    """

    given: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, Path] = field(default_factory=dict)
    engine: str = _HERE
    platform: Path | None = None
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a tolerance with which nothing or everything would be equal."""
        if not 0 <= self.tolerance < math.inf:
            raise ContractError(_WHERE, "--tolerance is out of range", got=self.tolerance, allowed="0 or more")


@dataclass(frozen=True)
class Rerun:
    """What a rerun gave.

    Attributes:
        conditions: What is not as recorded: components, weights, packages, files, settings, inputs.
        outputs: Every output, compared.
        reused: Tasks that were taken from the run folder.
    """

    conditions: list[Difference]
    outputs: list[Compared]
    reused: list[str]

    @property
    def is_reproduced(self) -> bool:
        """Whether every output is identical, or equal within the tolerance."""
        return bool(self.outputs) and all(one.verdict != DIFFERENT for one in self.outputs)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {
            "reproduced": self.is_reproduced,
            "conditions": [one.as_dict() for one in self.conditions],
            "outputs": [one.as_dict() for one in self.outputs],
            "reused": self.reused,
        }


def rerun(folder: Path, out: Path, order: Order) -> Rerun:
    """Run again.

    Args:
        folder: A run folder of a pipeline, or the output folder of one component.
        out: Where the new run goes; must not exist, or be empty.
        order: What was not recorded, and how to compare.

    Raises:
        ContractError: A name that the run does not have, or an option that does not go with it.
        InputError: There is no record, there are several runs, or a place is needed that was not given.
        OutputError: `out` holds something: what is there would be taken for what the new run made.
        ClaimedMedError: The new run failed; of the class of its exit code.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(_WHERE, "the place of the new run holds something", do="give --out an empty folder")
    records = records_below(folder)
    run = runfile.read(folder)
    if run is not None:
        _refuse_for_pipeline(run, order)
        conditions = check(folder, records) + _changed(run, order)
        reused = _reused(folder, run, records, order)
        _run_pipeline(folder, run, order, reused, out)
        return _compared(folder, out, records, order, conditions, reused)
    conditions = check(folder, records)
    if set(records) == {"."}:  # one port of a component's output folder
        port = records["."].port
        if folder.resolve().name != port:
            raise InputError(_WHERE, "the folder was renamed", allowed=port, do="give it its name back")
        folder, records = folder.resolve().parent, {port: records["."]}
    record = _only_run(records)
    words = _component_words(folder, record, order, out)
    _start(words, _epoch(record.environment))
    return _compared(folder, out, records, order, conditions, [])


def _only_run(records: Mapping[str, lineage.Record]) -> lineage.Record:
    """A record of the run of one component to which all of these belong.

    Raises:
        InputError: They are of several runs, which no run.json joins to a pipeline.
    """
    if len({one.component for one in records.values()}) > 1 or any("/" in place for place in records):
        places = sorted({_task(place) or place for place in records})
        shown = ", ".join(places[:_MOST_NAMED]) + (", ..." if len(places) > _MOST_NAMED else "")
        raise InputError(_WHERE, "there are several runs, and no run.json of a pipeline", got=shown, do="name one")
    return next(iter(records.values()))


def _refuse_for_pipeline(run: runfile.RunFile, order: Order) -> None:
    """Refuse what a run of this pipeline would not heed."""
    known = {*run.parameters, *run.withheld}
    _refuse_unknown("parameter", order.given, known)
    if order.inputs:
        allowed = ", ".join(f"--set {name}" for name in sorted(known)) or "no parameter"
        raise ContractError(_WHERE, "--input is for a run of one component; this is a pipeline", allowed=allowed)
    if order.platform and order.engine == _HERE:
        raise ContractError(_WHERE, "--platform is of the other engines", do="add --engine, or leave it out")


def _refuse_for_component(contract: Contract, order: Order) -> None:
    """Refuse what a run of this component would not heed."""
    _refuse_unknown("setting", order.given, {one.name for one in contract.settings})
    _refuse_unknown("input", order.inputs, {one.name for one in contract.inputs})
    if order.engine != _HERE or order.platform:
        what = "--engine and --platform are of pipelines; this is a run of one component"
        raise ContractError(_WHERE, what, got=contract.name, do="leave them out: it runs on this machine")


def _refuse_unknown(what: str, given: Mapping[str, object], known: set[str]) -> None:
    unknown = sorted(set(given) - known)
    if unknown:
        allowed = ", ".join(sorted(known)) or "none"
        raise ContractError(_WHERE, f"unknown {what}", got=", ".join(unknown), allowed=allowed)


def _changed(run: runfile.RunFile, order: Order) -> list[Difference]:
    return [
        Difference("", f"parameters.{name}", _text(run.parameters[name]), order.given[name])
        for name in sorted(set(order.given) & set(run.parameters))
        if _text(run.parameters[name]) != order.given[name]
    ]


def _reused(folder: Path, run: runfile.RunFile, records: Mapping[str, lineage.Record], order: Order) -> list[str]:
    """Tasks whose place was not given again: as paths below the run folder, one a turn of a loop."""
    if all(name in order.given for name in run.withheld):
        return []
    found = {place.rpartition("/")[0] for place, record in records.items() if _needs_more(record)}
    done = sorted(one for one in found if (folder / one).is_dir())
    given = {name for name in run.withheld if name in order.given}
    reused = [one for one in done if not _is_given(run, one, given)]
    for place, record in records.items():
        if place.rpartition("/")[0] in reused and not all((folder / place / name).is_file() for name in record.files):
            raise InputError(
                _WHERE,
                f"files of {place} are not in this folder",
                do=f"add {', '.join(f'--set {name}=PLACE' for name in sorted(set(run.withheld) - given))}",
            )
    if reused and order.engine != _HERE:
        wanted = ", ".join(f"--set {name}=PLACE" for name in sorted(set(run.withheld) - given))
        raise InputError(_WHERE, "another engine cannot take tasks from a run folder", do=f"add {wanted}")
    return reused


def _needs_more(record: lineage.Record) -> bool:
    """Whether a task was told what is not recorded, or what it found may have changed since."""
    if record.component.startswith(lineage.FOREIGN):
        return bool(record.settings)
    return bool(record.locations) or _talks(record)


def _talks(record: lineage.Record) -> bool:
    try:
        return registry.get(record.component).contract.talks
    except ClaimedMedError:
        return False


def _is_given(run: runfile.RunFile, task: str, given: set[str]) -> bool:
    """Whether every place of a top-level task is given again."""
    told = run.ir["root"]["dag"]["tasks"].get(task)
    if told is None:
        return False
    sources = told.get("inputs", {}).get("parameters", {}).values()
    places = {one["componentInputParameter"] for one in sources if "componentInputParameter" in one} & set(run.withheld)
    return bool(places) and places <= given


def _run_pipeline(folder: Path, run: runfile.RunFile, order: Order, reused: Sequence[str], out: Path) -> None:
    parameters = {name: _text(value) for name, value in run.parameters.items()}
    parameters |= dict.fromkeys(run.withheld, "") | dict(order.given)
    with tempfile.TemporaryDirectory() as scratch:
        compiled = Path(scratch) / "pipeline.yaml"
        compiled.write_text(json.dumps(run.ir), encoding="utf-8")  # JSON is YAML
        words = ["pipeline", "run", str(compiled), "--out", str(out), "--no-cache"]
        words += [word for name, value in parameters.items() for word in ("--set", f"{name}={value}")]
        words += ["--engine", order.engine, *(["--platform", str(order.platform)] if order.platform else [])]
        if reused:
            words += ["--reuse", str(folder), *(word for task in reused for word in ("--task", task))]
        _start(words, _epoch(run.environment))


def _component_words(folder: Path, record: lineage.Record, order: Order, out: Path) -> list[str]:
    contract = registry.get(record.component).contract
    _refuse_for_component(contract, order)
    words = ["run", contract.name, "--out", str(out)]
    for port in contract.inputs:
        path = order.inputs.get(port.name) or _beside(folder, record.parents.get(port.name, ""))
        if path is None:
            raise InputError(
                _WHERE,
                f"the input {port.name} is not recorded by path",
                do=f"add --input {port.name}=FOLDER ({_described(record, port.name)})",
            )
        words += ["--" + port.name.replace("_", "-"), str(path)]
    for one in contract.settings:
        if one.name in order.given:
            parse_argument(one, order.given[one.name], contract.name)
            words += [one.option, order.given[one.name]]
        elif one.name in record.settings:
            words += [one.option, to_argument(one, record.settings[one.name])]
        elif one.name in record.locations:
            raise InputError(_WHERE, f"{one.name} is not recorded", do=f"add --set {one.name}=PATH")
    return words


def _beside(folder: Path, digest: str) -> Path | None:
    """The port folder with that record, among the neighbours of a run."""
    if not digest:
        return None
    for place in (folder.parent, folder.parent.parent):
        for depth in ("*", "*/*"):
            for file in place.glob(f"{depth}/{LINEAGE}"):
                with contextlib.suppress(InputError, OSError):  # what others left or do there is no matter of this run
                    record = lineage.read(file.parent)
                    if record is not None and record.digest() == digest:
                        return file.parent
    return None


def _described(record: lineage.Record, port: str) -> str:
    told = [unit.inputs[port] for unit in record.units if port in unit.inputs]
    uids = [uid for one in told for uid in one.get("sop_uids", ())]
    digests = ", ".join(one["digest"][:12] for one in told[:3])
    return f"{len(told)} payloads, {digests}{'; first object ' + uids[0] if uids else ''}"


def _start(words: list[str], epoch: dict[str, str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"} | epoch
    with tempfile.TemporaryFile("w+") as log:
        command = [sys.executable, "-m", "claimed_med", *words]
        code = subprocess.run(command, stdout=log, stderr=log, env=environment, check=False).returncode
        log.seek(0)
        lines = [line.strip() for line in log if line.strip()]
    if code:
        why = next((line for line in reversed(lines) if "error: " in line or "failed" in line), "")
        kind = _BY_CODE.get(code, EngineError)
        told = why.partition("error: ")[2] or why
        raise kind(_WHERE, f"the new run ended with exit code {code}: {told}".rstrip(": "))


def _epoch(environment: Mapping[str, Any]) -> dict[str, str]:
    told = str(environment.get("source_date_epoch", ""))
    return {"SOURCE_DATE_EPOCH": told} if told else {}


def _compared(
    folder: Path,
    out: Path,
    records: Mapping[str, lineage.Record],
    order: Order,
    conditions: list[Difference],
    reused: list[str],
) -> Rerun:
    new = records_below(out)
    outputs = []
    for place, record in records.items():
        if _task(place) in reused:
            continue
        if place not in new:
            outputs.append(Compared(place, DIFFERENT, "", "this output was not made"))
            continue
        conditions += [one for one in of_records(place, record, new[place]) if _is_condition(one)]
        listed = {name: one["sha256"] for name, one in record.files.items()}
        outputs.append(compare(place, folder / place, out / place, listed=listed, tolerance=order.tolerance))
    outputs += [Compared(one, DIFFERENT, "", "this output is new") for one in sorted(set(new) - set(records))]
    for task in sorted({_task(place) for place in records} - set(reused)):
        recorded = {
            name: told for place, one in records.items() if _task(place) == task for name, told in one.values.items()
        }
        outputs += _values(folder, out, task, recorded, order.tolerance)
    return Rerun(list(dict.fromkeys(conditions)), outputs, reused)


def _is_condition(one: Difference) -> bool:
    """What decides a result; what only follows from it, or cannot decide it, is left out."""
    return one.what.startswith(("component", "version", "settings", "locations", "weights", "input", "units"))


def _task(place: str) -> str:
    return place.rpartition("/")[0]


def _values(folder: Path, out: Path, task: str, recorded: Mapping[str, str], tolerance: float) -> list[Compared]:
    """Value outputs: text files beside the port folders; all that is recorded, and what else lies there."""
    names = {path.name for place in (folder / task, out / task) for path in place.glob("*") if path.is_file()}
    found = sorted({*recorded, *(name for name in names if "." not in name)})
    return [
        compare_value(
            f"{task}/{name}".lstrip("/"),
            folder / task / name,
            out / task / name,
            tolerance,
            recorded.get(name, ""),
        )
        for name in found
    ]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value) if isinstance(value, list | dict) else str(value)
