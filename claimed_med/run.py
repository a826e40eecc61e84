"""One run of one component: parse, map over units, call, save, record, exit code.

The argv is the same in a shell, a container, a pod, an Airflow task and a Slurm job. Standard library only at the top.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimed_med import registry, units
from claimed_med.component import parse_argument, to_argument, type_name
from claimed_med.errors import ClaimedMedError, ContractError, OutputError
from claimed_med.execute import (
    execute,
    explain,
    full_settings,
    identity_of,
    inputs_of,
    location_digests,
    note_origins,
    record_of,
    value_digests,
    write_output,
)
from claimed_med.folder import Folders
from claimed_med.handle import Handle
from claimed_med.handles import KINDS, DicomCollection, DicomSeries
from claimed_med.lineage import UnitRecord, now
from claimed_med.mapping import Part, map_units
from claimed_med.openlineage import Run, told
from claimed_med.payload import value_text, write_atomic
from claimed_med.progress import progress
from claimed_med.workers import limit_threads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from claimed_med.component import Component, Contract


def call(component: Component, ports: Sequence[Any], settings: Mapping[str, Any]) -> Any:
    """Run a component in this process, for one unit of work; the outputs stay in memory until `.save(folder)`.

    Args:
        component: What to run.
        ports: One handle per input port, in order.
        settings: Settings by name.

    Returns:
        What the function returns: a handle, or a named tuple of handles and values.

    Raises:
        ContractError: A port or setting that the contract does not allow.
        InputError: The input cannot be processed.
    """
    contract = component.contract
    if len(ports) != len(contract.inputs):
        wanted = ", ".join(f"{port.name}: {port.kind}" for port in contract.inputs)
        raise ContractError(contract.name, "takes one handle per port", got=f"{len(ports)}", allowed=wanted or "none")
    handles = {
        port.name: _checked(contract, port.name, given) for port, given in zip(contract.inputs, ports, strict=True)
    }
    values = full_settings(contract, settings)
    locations = location_digests(contract, values)
    found = units.single(contract, handles)
    started = now()
    outcome = execute(component, found.units[0], values, locations)
    digests = value_digests(contract, outcome.outputs)
    for port in contract.outputs:
        if not port.is_value:
            unit = UnitRecord(
                found.units[0].key,
                "done",
                outcome.identity,
                inputs_of(found.units[0], outcome.inputs),
                outcome.repairs,
                outcome.statements,
            )
            outcome.outputs[port.name].record = record_of(
                contract, port.name, values, locations, found.parents, started, [unit], digests
            )
    result = tuple(outcome.outputs[port.name] for port in contract.outputs)
    return result[0] if len(result) == 1 else _named(component, result)


def main(argv: Sequence[str]) -> int:
    """`claimed-med run NAME ...`; returns the exit code and prints errors, never a traceback."""
    if not argv or argv[0] in {"-h", "--help"}:
        print("usage: claimed-med run NAME --PORT PATH --SETTING VALUE ...\nnames: claimed-med list")
        return 0 if argv else 2
    limit_threads(1)  # before any numeric library is imported
    try:
        component = registry.get(argv[0])
        arguments = parser(component.contract).parse_args(list(argv[1:]))
        return run(component, arguments)
    except ClaimedMedError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on where it stopped", file=sys.stderr)
        return 130
    except Exception as error:  # noqa: BLE001 - the last line of defence: no traceback, no foreign message
        explained = explain(error, argv[0])
        print(f"error: {explained['text']}", file=sys.stderr)
        return int(explained["exit_code"])


def parser(contract: Contract) -> argparse.ArgumentParser:
    """The command line of a component, derived from its contract."""
    made = argparse.ArgumentParser(
        prog=f"claimed-med run {contract.name}", description=contract.summary, allow_abbrev=False
    )
    ports = made.add_argument_group("input ports (folders)")
    for port in contract.inputs:
        ports.add_argument(
            _option(port.name),
            dest=port.name,
            required=True,
            metavar="PATH",
            help=f"{port.kind}: {_help(port.summary)}",
        )
    settings = made.add_argument_group("settings")
    for one in contract.settings:
        limits = f" [{one.low:g}, {one.high:g}]" if one.low is not None and one.high is not None else ""
        allowed = f" one of {', '.join(one.choices)};" if one.choices else ""
        default = to_argument(one, one.default)
        settings.add_argument(
            one.option,
            dest=one.name,
            default=default,
            metavar=type_name(one.type).upper(),
            help=_help(f"{one.summary}{limits}{allowed} (default: {default or 'empty'})"),
        )
    outputs = made.add_argument_group("output ports (folders that the run makes; values go to text files)")
    outputs.add_argument("--out", metavar="FOLDER", help="one folder for all output ports: FOLDER/<port>")
    for port in contract.outputs:
        outputs.add_argument(
            _option(port.name), dest=port.name, metavar="PATH", help=f"{port.kind}: {_help(port.summary)}"
        )
    if contract.over:
        made.add_argument(
            "--max-quarantined", type=int, default=-1, metavar="N", help="fail when more than N units are quarantined"
        )
        made.add_argument(
            "--shard", default="", metavar="I/N", help="work on the I-th (from 0) of N parts, into folders of its own"
        )
        made.add_argument(
            "--gather", type=int, default=0, metavar="N", help="join N finished parts, and do what none of them did"
        )
    return made


def run(component: Component, arguments: argparse.Namespace) -> int:
    """Run a component on folders; the exit code.

    Raises:
        ClaimedMedError: Nothing could be done at all.
    """
    contract = component.contract
    ports: dict[str, Handle] = {port.name: KINDS[port.kind](getattr(arguments, port.name)) for port in contract.inputs}
    given = {one.name: parse_argument(one, getattr(arguments, one.name), contract.name) for one in contract.settings}
    settings = full_settings(contract, given)
    targets = _targets(contract, arguments)
    _keep_apart(contract, ports, targets)
    locations = location_digests(contract, settings)
    if not contract.over:
        folders = Folders(contract, targets)
        with told(Run(contract.name), folders.records) as this:
            this.code = _run_whole(component, ports, settings, locations, targets, folders)
        return this.code
    part = _part(contract, arguments.shard) if arguments.shard else None
    parts = [Folders(contract, _part_targets(targets, index)) for index in range(arguments.gather)]
    folders = Folders(contract, _part_targets(targets, part.index) if part else targets)
    if parts:
        folders.gather(parts)
    with told(Run(contract.name), folders.records) as this:
        this.code = map_units(component, ports, settings, locations, folders, arguments.max_quarantined, part)
    for one in parts:
        one.remove()
    return this.code


def _run_whole(
    component: Component,
    ports: Mapping[str, Handle],
    settings: Mapping[str, Any],
    locations: Mapping[str, str],
    targets: Mapping[str, Path],
    folders: Folders,
) -> int:
    contract = component.contract
    found = units.single(contract, ports)
    started = now()
    memo: dict[Any, str] = {}
    with progress(contract.name, 1) as bar:
        known = identity_of(contract, found.units[0], settings, locations, memo)
        if folders.holds(known[0]) and not contract.talks:
            bar.advance()
            return 0
        outcome = execute(component, found.units[0], settings, locations, known)
        if _is_helper():
            return 0
        came_in = inputs_of(found.units[0], outcome.inputs)
        values = value_digests(contract, outcome.outputs)
        unit = UnitRecord("", "done", outcome.identity, came_in, outcome.repairs, outcome.statements)
        with folders.replacing() as partial:
            for place in folders.values.values():
                place.unlink(missing_ok=True)  # killed between outputs and values, none of an earlier run is left
            for port in contract.outputs:
                if not port.is_value:
                    files = write_output(outcome.outputs[port.name], partial[port.name], memo)
                    if not contract.inputs:
                        note_origins(files, partial[port.name])
                    record = record_of(contract, port.name, settings, locations, found.parents, started, [unit], values)
                    folders.write_record(partial[port.name], record, files)
        for port in contract.outputs:
            if port.is_value:
                _write_value(targets[port.name], outcome.outputs[port.name])
        bar.advance()
    return 0


def _part(contract: Contract, text: str) -> Part:
    index, found, count = text.partition("/")
    if not found or not index.isdecimal() or not count.isdecimal() or int(index) >= int(count):
        raise ContractError(contract.name, "--shard takes I/N", got=repr(text), allowed="0/4 to 3/4 of four parts")
    return Part(int(index), int(count))


def _part_targets(targets: Mapping[str, Path], index: int) -> dict[str, Path]:
    return {port: place.with_name(f".part-{index}-{place.name}") for port, place in targets.items()}


def _is_helper() -> bool:
    """Whether this process only helps the first one of a distributed run (torchrun), which writes the outputs."""
    return os.environ.get("RANK", "0") != "0" and "WORLD_SIZE" in os.environ


def _checked(contract: Contract, port: str, given: Any) -> Handle:
    kind = contract.input(port).kind
    if isinstance(given, KINDS[kind]):
        return given
    if isinstance(given, DicomCollection) and kind == DicomSeries.__name__:
        raise ContractError(
            contract.name, f"port {port} takes one series", got="a collection", do="choose one of collection.series()"
        )
    raise ContractError(
        contract.name,
        f"port {port} takes a {kind}",
        got=type(given).__name__,
        do=f"write {kind}(path) or pass a result",
    )


def _named(component: Component, values: tuple[Any, ...]) -> Any:
    hint = component.function.__annotations__["return"]
    made = getattr(sys.modules[component.function.__module__], hint) if isinstance(hint, str) else hint
    return made(*values)


def _targets(contract: Contract, arguments: argparse.Namespace) -> dict[str, Path]:
    targets = {}
    for port in contract.outputs:
        given = getattr(arguments, port.name)
        if given is None and arguments.out is None:
            raise ContractError(
                contract.name, f"output {port.name} has no place", do=f"add --out FOLDER or {_option(port.name)} PATH"
            )
        targets[port.name] = Path(given) if given is not None else Path(arguments.out) / port.name
    return targets


def _keep_apart(contract: Contract, ports: Mapping[str, Handle], targets: Mapping[str, Path]) -> None:
    """Refuse an output folder inside an input folder or the other way round: no source is ever touched."""
    for port, handle in ports.items():
        source = Path(handle.path or ".").resolve()
        for name, target in targets.items():
            place = target.resolve()
            if place == source or place.is_relative_to(source) or source.is_relative_to(place):
                raise OutputError(
                    contract.name,
                    f"output {name} and input {port} lie in one another",
                    do="choose another output folder",
                )


def _write_value(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, value_text(value))


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _help(text: str) -> str:
    return text.replace("%", "%%")
