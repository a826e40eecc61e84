"""Map a component that is written for one unit over a whole folder. Standard library only at the top.

A unit that fails goes into quarantine with its reason while the others go on; a second run does not redo what is done.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from claimed_med import registry, units
from claimed_med.execute import execute, explain, identity_of, inputs_of, parent_digests, record_of, write_output
from claimed_med.lineage import UnitRecord, now
from claimed_med.payload import UNITS, sha256_of
from claimed_med.progress import progress
from claimed_med.workers import WorkerDied, map_tasks, n_cores

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claimed_med.component import Component, Contract
    from claimed_med.folder import Folders
    from claimed_med.handle import Handle


@dataclass(frozen=True)
class Part:
    """One of several parts of the units: those whose key gives this remainder.

    Attributes:
        index: From 0.
        n_parts: How many there are.
    """

    index: int
    n_parts: int

    def holds(self, key: str) -> bool:
        """Whether a unit belongs to this part; the same on every machine."""
        return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) % self.n_parts == self.index


@dataclass(frozen=True)
class Worker:
    """What every worker process needs; called with (unit, entry of an earlier run or None)."""

    path: str
    category: str
    settings: Mapping[str, Any]
    locations: Mapping[str, str]
    folders: Folders

    def __call__(self, task: tuple[units.Unit, dict[str, Any] | None]) -> dict[str, Any]:
        """Run one unit; every failure becomes an entry."""
        unit, earlier = task
        component = registry.from_file(self.path, self.category)
        try:
            return self._run(component, unit, earlier)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            entry = _entry(unit, "quarantined") | explain(error, component.contract.name)
            entry["identity"], entry["inputs"] = self._identity(component, unit)
            self.folders.note(entry)
            return entry

    def _run(self, component: Component, unit: units.Unit, earlier: dict[str, Any] | None) -> dict[str, Any]:
        memo: dict[Any, str] = {}
        known = identity_of(component.contract, unit, self.settings, self.locations, memo)
        if earlier is not None and earlier["identity"] == known[0] and not component.contract.talks:
            return earlier | {"kept": True}
        outcome = execute(component, unit, self.settings, self.locations, known)
        with self.folders.replacing(unit.key) as partial:
            files = {port: write_output(outcome.outputs[port], folder, memo) for port, folder in partial.items()}
            entry = _entry(unit, "done") | {
                "identity": outcome.identity,
                "inputs": inputs_of(unit, outcome.inputs),
                "repairs": outcome.repairs,
                "statements": outcome.statements,
                "files": files,
            }
            self.folders.note(entry)
        return entry

    def _identity(self, component: Component, unit: units.Unit) -> tuple[str, dict[str, Any]]:
        try:
            identity, inputs = identity_of(component.contract, unit, self.settings, self.locations, {})
        except Exception:  # noqa: BLE001 - the files themselves may be what fails
            return "", {}
        return identity, inputs_of(unit, inputs)


def map_units(
    component: Component,
    ports: Mapping[str, Handle],
    settings: Mapping[str, Any],
    locations: Mapping[str, str],
    folders: Folders,
    max_quarantined: int = -1,
    part: Part | None = None,
) -> int:
    """Run a component over every unit of its input folders; the exit code.

    Args:
        component: Declared with `over=`.
        ports: Input port -> handle on a folder.
        settings: All of them.
        locations: Location setting -> content digest.
        folders: Where the outputs go.
        max_quarantined: Fail when more units than this are in quarantine; -1 for no limit.
        part: Work on these units only; None for all of them.

    Returns:
        0 when at least one unit is done (and the limit is kept), else the exit code of the error class; 0 for a part,
        which is judged with the others.

    Raises:
        InputError: There is no unit at all.
        OutputError: An output folder holds foreign files.
    """
    contract, started = component.contract, now()
    found = units.find(contract, ports)
    if part is not None:
        found.units = [unit for unit in found.units if part.holds(unit.key)]
    before = folders.parents()
    folders.prepare()
    finished = folders.finished()
    ready = [unit for unit in found.units if not unit.error]
    entries = {unit.key: _absent(unit) for unit in found.units if unit.error}
    worker = Worker(str(component.path), contract.category, dict(settings), dict(locations), folders)
    with progress(contract.name, len(ready)) as bar:
        for index, result in _results(contract, worker, [(unit, finished.get(unit.key)) for unit in ready]):
            unit = ready[index]
            entries[unit.key] = _died(contract, unit, result) if isinstance(result, WorkerDied) else result
            bar.advance()
    listed = [entries[key] for key in sorted(entries)]
    parents = parent_digests(contract, found.parents)
    kept = all(one.get("kept") or one["status"] != "done" for one in listed)
    if kept and before == parents and folders.lists(listed, found.skipped):
        folders.close()  # all is as an earlier run left it, and so is its record
    else:
        _close(contract, settings, locations, folders, found, started, listed)
    print(summary(contract, listed, found.skipped))
    return 0 if part is not None else _exit_code(listed, max_quarantined)


def summary(contract: Contract, entries: list[dict[str, Any]], skipped: list[dict[str, str]]) -> str:
    """The table that ends a mapped run: counts, and every reason with how often it occurred."""
    counts = Counter(entry["status"] for entry in entries)
    head = ", ".join(f"{counts[status]} {status}" for status in ("done", "quarantined", "absent") if counts[status])
    lines = [f"{contract.name}: {head or 'nothing to do'}" + (f", {len(skipped)} files skipped" if skipped else "")]
    lines += [
        f"  {entry['key']}  {entry['status']:<11}  {entry['text']}" for entry in entries if entry["status"] != "done"
    ]
    for (finding, text), count in sorted(Counter((one["finding"], one["text"]) for one in skipped).items()):
        lines.append(f"  {count:>4} x {finding}: {text}")
    return "\n".join(lines)


def _results(contract: Contract, worker: Worker, tasks: list[Any]) -> Any:
    if len(tasks) == 1:
        yield 0, worker(tasks[0])
        return
    n_workers = max(1, n_cores() // contract.threads)
    yield from map_tasks(worker, tasks, n_workers=n_workers, n_threads=contract.threads)


def _entry(unit: units.Unit, status: str) -> dict[str, Any]:
    return {
        "key": unit.key,
        "status": status,
        "error": "",
        "text": "",
        "findings": [],
        "exit_code": 0,
        "identity": "",
        "inputs": {},
        "repairs": [],
        "statements": {},
        "files": {},
    }


def _absent(unit: units.Unit) -> dict[str, Any]:
    entry = _entry(unit, "absent")
    return entry | {"error": unit.error, "text": unit.text, "findings": unit.findings, "exit_code": 3}


def _died(contract: Contract, unit: units.Unit, death: WorkerDied) -> dict[str, Any]:
    why = f"killed by {death.signal}, perhaps for lack of memory" if death.signal else "ended without an answer"
    text = f"{contract.name}: the process that worked on this unit was {why}; run again, with fewer workers."
    return _entry(unit, "quarantined") | {"error": "WorkerDied", "text": text, "exit_code": 1}


def _close(
    contract: Contract,
    settings: Mapping[str, Any],
    locations: Mapping[str, str],
    folders: Folders,
    found: units.Found,
    started: str,
    entries: list[dict[str, Any]],
) -> None:
    text = folders.write_units(entries, found.skipped)
    listed = [
        UnitRecord(one["key"], one["status"], one["identity"], one["inputs"], one["repairs"], one["statements"])
        for one in entries
    ]
    for port, folder in folders.ports.items():
        record = record_of(contract, port, settings, locations, found.parents, started, listed)
        files = {
            f"{one['key']}/{name}": told
            for one in entries
            if one["status"] == "done"
            for name, told in one["files"][port].items()
        }
        files[UNITS] = {"sha256": sha256_of(text.encode()), "sop_uid": ""}
        folders.write_record(folder, record, files)
    folders.close()


def _exit_code(entries: list[dict[str, Any]], max_quarantined: int) -> int:
    failed = [entry for entry in entries if entry["status"] == "quarantined"]
    code = failed[0]["exit_code"] if failed else 3
    if 0 <= max_quarantined < len(failed):
        return int(code)
    return 0 if any(entry["status"] == "done" for entry in entries) else int(code)
