"""Run a component once, on one unit of work, and stamp what it returns. Standard library only at the top."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimed_med import blessing, lineage
from claimed_med.component import check_value, running
from claimed_med.errors import ClaimedMedError, ContractError, InputError, storage_error
from claimed_med.handle import Handle
from claimed_med.handles import KINDS, Decision, DicomCollection, _Dicom
from claimed_med.payload import copy_file, digest_files, folder_digest, payload_digest, sha256_of, value_text
from claimed_med.remote import is_remote, local_copy
from claimed_med.secret import keyed_hash
from claimed_med.workers import limit_threads

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from claimed_med.component import Component, Contract
    from claimed_med.units import Unit


# payload digests of ports that all units share, so that a model is not hashed again for every unit
_shared_digests: dict[str, str] = {}


@dataclass
class Outcome:
    """What one run of a component on one unit gave.

    Attributes:
        identity: Identity of the run.
        outputs: Output port -> handle or value.
        inputs: Input port -> payload digest.
        repairs: Repairs of the geometry that were done on reading.
        statements: What the component said about this run.
    """

    identity: str
    outputs: dict[str, Any]
    inputs: dict[str, str]
    repairs: list[str] = field(default_factory=list)
    statements: dict[str, str] = field(default_factory=dict)


def full_settings(contract: Contract, given: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting by name: the given ones checked, the others at their defaults.

    Raises:
        ContractError: A setting that does not exist, or a value that is not allowed.
    """
    for name in given:
        contract.setting(name)
    return {
        one.name: check_value(one, given[one.name], contract.name) if one.name in given else one.default
        for one in contract.settings
    }


def location_digests(contract: Contract, settings: Mapping[str, Any]) -> dict[str, str]:
    """The content digest behind every setting through which data enters.

    Raises:
        InputError: The place does not exist.
    """
    digests = {}
    for one in contract.settings:
        if one.is_location and settings[one.name]:
            text = str(settings[one.name])
            path = local_copy(text) if is_remote(text) else Path(text)
            if not path.exists():
                raise InputError(contract.name, f"{one.name} does not exist", do=f"check --{one.name}")
            digests[one.name] = folder_digest(path)
    return digests


def weights_digest(contract: Contract) -> str:
    """The sha256 of the weights that a component uses, or ''."""
    if not contract.weights:
        return ""
    module, function = contract.weights.split(":")
    return str(getattr(importlib.import_module(module), function)())


def identity_of(
    contract: Contract, unit: Unit, settings: Mapping[str, Any], locations: Mapping[str, str], memo: dict[Any, str]
) -> tuple[str, dict[str, str]]:
    """Identity of the run on this unit, and the payload digest of each input port.

    Args:
        contract: Of the component.
        unit: With a handle for every input port.
        settings: All of them.
        locations: Location setting -> content digest.
        memo: File -> sha256, filled here so that no file is hashed twice.
    """
    inputs = {}
    for port, handle in unit.handles.items():
        payload = handle.payload()
        shared = "" if handle.per_unit or handle.in_memory else _stamp_of(payload)
        if shared not in _shared_digests:
            digests = digest_files(payload)
            memo.update({content: digests[name] for name, content in payload.items() if isinstance(content, Path)})
            inputs[port] = payload_digest(digests)
        if shared:
            inputs[port] = _shared_digests.setdefault(shared, inputs.get(port, ""))
    if contract.border:
        inputs = {port: keyed_hash("digest", one) for port, one in inputs.items()}
    return lineage.identity(contract, settings, inputs, weights_digest(contract), locations), inputs


def _stamp_of(payload: Mapping[str, Path | bytes]) -> str:
    states = [(name, path.resolve(), path.stat()) for name, path in sorted(payload.items()) if isinstance(path, Path)]
    return repr([(name, str(path), state.st_mtime_ns, state.st_size, state.st_ino) for name, path, state in states])


def execute(
    component: Component,
    unit: Unit,
    settings: Mapping[str, Any],
    locations: Mapping[str, str],
    known: tuple[str, dict[str, str]] | None = None,
) -> Outcome:
    """Run the function on one unit and give its outputs their final UIDs.

    Args:
        component: What to run.
        unit: With a handle for every input port.
        settings: All of them.
        locations: Location setting -> content digest.
        known: Identity and input digests, when they were computed already.

    Raises:
        ContractError: The function returned something else than it declares.
        ClaimedMedError: Whatever the function raises on purpose.
    """
    contract = component.contract
    identity, inputs = known or identity_of(contract, unit, settings, locations, {})
    blessed = _require_blessing(contract, unit, inputs, settings)
    with running(contract, identity, inputs) as run, _threads(contract.threads):
        run.statements.update(blessed)
        result = component.function(*(unit.handles[port.name] for port in contract.inputs), **settings)
    outputs = dict(zip((port.name for port in contract.outputs), _as_tuple(contract, result), strict=True))
    for port in contract.outputs:
        if not port.is_value:
            _stamp(contract, port.name, port.kind, outputs[port.name], f"{identity}/{unit.key}/{port.name}")
            outputs[port.name].key = unit.key
    repairs = sorted({text for handle in unit.handles.values() for text in getattr(handle, "repairs", ())})
    return Outcome(identity, outputs, inputs, repairs, run.statements)


def _require_blessing(
    contract: Contract, unit: Unit, inputs: Mapping[str, str], settings: Mapping[str, Any]
) -> dict[str, str]:
    """Refuse to run on anything but the very payload that a Decision blesses; what it says, for the record.

    A component with a setting `override` runs all the same where that is not empty; the record then says so.

    Raises:
        RefusedError: The decision is a refusal, or blesses another payload.
    """
    told: dict[str, str] = {}
    for port in contract.inputs:
        if port.kind == Decision.__name__:
            others = {digest for name, digest in inputs.items() if name != port.name}
            decision, override = unit.handles[port.name].load(), str(settings.get("override", ""))
            found = blessing.require(contract.name, decision, others, port=port.name, override=override)
            told |= found.statements()
    return told


def record_of(
    contract: Contract,
    port: str,
    settings: Mapping[str, Any],
    locations: Mapping[str, str],
    parents: Mapping[str, lineage.Record],
    started: str,
    listed: list[lineage.UnitRecord],
    values: Mapping[str, str] | None = None,
) -> lineage.Record:
    """The record of one output port, chained to the records beside the inputs; its files are listed later."""
    record = lineage.Record(
        component=contract.name,
        version=contract.version,
        port=port,
        settings=lineage.recorded_settings(contract, settings),
        locations=dict(locations),
        weights=weights_digest(contract),
        units=listed,
        values=dict(values or {}),
        environment={
            **lineage.environment(contract.threads, contract.image),
            "started": started,
            "ended": lineage.now(),
        },
    )
    if contract.border:
        record.parents = parent_digests(contract, parents)
        return record
    for name, parent in parents.items():
        record.adopt(name, parent)
    return record


def value_digests(contract: Contract, outputs: Mapping[str, Any]) -> dict[str, str]:
    """Value output -> sha256 of its text, for the record."""
    return {port.name: sha256_of(value_text(outputs[port.name]).encode()) for port in contract.outputs if port.is_value}


def parent_digests(contract: Contract, parents: Mapping[str, lineage.Record]) -> dict[str, str]:
    """Input port -> digest of the record beside it; a keyed hash of that where lineage ends."""
    found = {name: parent.digest() for name, parent in parents.items()}
    return {name: keyed_hash("record", one) for name, one in found.items()} if contract.border else found


def inputs_of(unit: Unit, digests: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Input port -> payload digest, with SOPInstanceUIDs, series and patients where the data were found by a scan."""
    return {
        port: {
            "digest": value,
            **({"sop_uids": unit.sources[port]} if unit.sources.get(port) else {}),
            **unit.subjects.get(port, {}),
        }
        for port, value in digests.items()
    }


def write_output(handle: Handle, folder: Path, memo: Mapping[Any, str]) -> dict[str, dict[str, str]]:
    """Write a payload into an empty folder; relative name -> {"sha256", "sop_uid", ...} as records list it."""
    made = handle.identifiers()
    files: dict[str, dict[str, str]] = {}
    for name, content in sorted(handle.payload().items()):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            target.write_bytes(content)
        else:
            copy_file(content, target)
        stem = Path(name).stem
        uid = stem if stem.replace(".", "").isdigit() and name.endswith(".dcm") else ""
        files[name] = {"sha256": memo.get(content) or sha256_of(content), "sop_uid": uid, **made.get(name, {})}
    return files


def note_origins(files: dict[str, dict[str, str]], folder: Path) -> None:
    """Where data enter: add series and patient key (derived with the secret) to every DICOM object that is listed.

    Args:
        files: Relative name -> {"sha256", "sop_uid"}; grows in place.
        folder: Where they lie.
    """
    listed = [name for name, one in files.items() if one["sop_uid"]]
    if not listed:
        return
    from claimed_med.dicom.origin import origin_of

    patients: dict[str, str] = {}
    for name in listed:
        found = origin_of(folder / name, patients)
        if found is not None:
            files[name].update(series_uid=found.series_uid, patient=found.patient)


def explain(error: BaseException, where: str) -> dict[str, Any]:
    """The error of a unit as it is listed: class, text, names of findings; never a foreign message or a path.

    Messages of other libraries may quote header values, so only the class and the place in the code are kept.
    """
    if isinstance(error, ClaimedMedError):
        findings = [getattr(one, "name", str(one)) for one in getattr(error, "findings", ())]
        return {"error": type(error).__name__, "text": str(error), "findings": findings, "exit_code": error.exit_code}
    if (unusable := storage_error(error, where)) is not None:
        return explain(unusable, where)
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "claimed_med" in frame.filename] or frames
    place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "unknown place"
    if isinstance(error, MemoryError):
        text = f"{where}: not enough memory for this unit; use a machine with more, or fewer workers."
    else:
        text = f"{where}: an unexpected {type(error).__name__} at {place}; please report it, the message is withheld."
    return {"error": type(error).__name__, "text": text, "findings": [], "exit_code": 1}


def _as_tuple(contract: Contract, result: Any) -> tuple[Any, ...]:
    several = isinstance(result, tuple) and hasattr(result, "_fields")
    values = tuple(result) if several else (result,)
    if len(values) != len(contract.outputs):
        raise ContractError(contract.name, "returned another number of outputs", got=len(values))
    return values


def _stamp(contract: Contract, port: str, kind: str, output: Any, seed: str) -> None:
    if not isinstance(output, KINDS[kind]):
        raise ContractError(contract.name, f"output {port} must be a {kind}", got=type(output).__name__)
    if output.final:
        return
    datasets = output.datasets() if isinstance(output, _Dicom) and not isinstance(output, DicomCollection) else []
    if datasets:
        from claimed_med.dicom.uid import stamp

        stamp(datasets, seed=seed)
    if isinstance(output, DicomCollection) and output.in_memory:
        for number, series in enumerate(output.object):
            _stamp(contract, port, "DicomSeries", series, f"{seed}/{number}")


@contextlib.contextmanager
def _threads(n_threads: int) -> Iterator[None]:
    """Fix the number of numeric threads for the time of the block, and put it back.

    Where it is that number already nothing is touched: a server runs several units at once, in threads.
    """
    torch = sys.modules.get("torch")
    if os.environ.get("OMP_NUM_THREADS") == str(n_threads) and (torch is None or torch.get_num_threads() == n_threads):
        yield
        return
    before = dict(os.environ), torch.get_num_threads() if torch else 0
    limit_threads(n_threads)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before[0])
        if torch:
            torch.set_num_threads(before[1])
