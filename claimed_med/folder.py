"""The output folders of a run: written all or nothing, and read again when a run is resumed. Standard library only."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from claimed_med import lineage
from claimed_med.errors import OutputError
from claimed_med.payload import (
    LINEAGE,
    PARTIAL,
    UNITS,
    digest_files,
    files_below,
    move_into_place,
    sha256_of,
    value_place,
    write_atomic,
)
from claimed_med.units import read_table, write_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from claimed_med.component import Contract

JOURNAL = ".journal.jsonl"


class Folders:
    """The places of a component's outputs.

    Args:
        contract: Of the component.
        targets: Output port -> folder, or text file of a value.
    """

    def __init__(self, contract: Contract, targets: Mapping[str, Path]) -> None:
        self.name = contract.name
        self.ports = {port.name: targets[port.name].resolve() for port in contract.outputs if not port.is_value}
        self.values = {port.name: targets[port.name].resolve() for port in contract.outputs if port.is_value}
        self.records: list[lineage.Record] = []  # written by this run

    @property
    def journal(self) -> Path:
        """Where finished units are noted while a run goes on."""
        return next(iter(self.ports.values())) / JOURNAL

    def holds(self, identity: str) -> bool:
        """Whether all outputs of a whole-folder run of this identity are there, to the byte."""
        self.check_free()
        for folder in self.ports.values():
            record = lineage.read(folder) if folder.is_dir() else None
            if record is None or [unit.identity for unit in record.units] != [identity]:
                return False
            if not _is_intact(folder, record.files) or not self._has_values(record):
                return False
        return bool(self.ports)

    def _has_values(self, record: lineage.Record) -> bool:
        """Whether every value is there, as recorded; records from before there were values in them name none."""
        return all(
            path.is_file() and (not record.values or sha256_of(path) == record.values.get(name, ""))
            for name, path in self.values.items()
        )

    def check_free(self) -> None:
        """Refuse to write into a folder that holds anything that no run of ours made.

        Raises:
            OutputError: The folder holds foreign files.
        """
        for port, folder in self.ports.items():
            if folder.exists() and not folder.is_dir():
                raise OutputError(self.name, f"the place of output {port} is a file", do="choose a folder")
            if not folder.is_dir():
                continue
            inside = {path.name for path in folder.iterdir() if not path.name.startswith(PARTIAL)}
            if inside and not inside & {LINEAGE, UNITS} and not self.journal.is_file():
                raise OutputError(
                    self.name, f"the folder of output {port} holds files of something else", do="choose a new folder"
                )

    @contextmanager
    def replacing(self, key: str = "") -> Iterator[dict[str, Path]]:
        """Hidden folders to fill, one a port; each takes its name only when the block ends well.

        A mapped unit is noted in the journal at the end of the block: killed after that, the next run moves the
        folders into place; killed before, it does the unit again.

        Args:
            key: Unit key, or '' for the port folder itself.
        """
        finals = {port: folder / key if key else folder for port, folder in self.ports.items()}
        partials = {
            port: final.parent / (f"{PARTIAL}{key}" if key else f"{PARTIAL}{final.name}-{os.getpid()}-{port}")
            for port, final in finals.items()
        }
        try:
            for partial in partials.values():
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
            yield partials
            for port, partial in partials.items():
                move_into_place(partial, finals[port])
        finally:
            for partial in partials.values():
                shutil.rmtree(partial, ignore_errors=True)

    def prepare(self) -> None:
        """Make the port folders of a mapped run and clear what a killed run left half done.

        Raises:
            OutputError: A folder holds foreign files.
        """
        self.check_free()
        for folder in self.ports.values():
            folder.mkdir(parents=True, exist_ok=True)
        if self.journal.is_file():
            for entry in self._from_journal().values():
                self._roll_forward(entry)
        for folder in self.ports.values():
            for left in folder.glob(f"{PARTIAL}*"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        if not self.journal.exists():
            earlier = self.finished()
            write_atomic(self.journal, "".join(json.dumps(entry) + "\n" for entry in earlier.values()))

    def gather(self, parts: Sequence[Folders]) -> None:
        """Take over the finished units of parts that other processes worked on; the parts' folders are emptied.

        The next mapped run finds the units as those of a run that was stopped. Killed on the way, it goes on.

        Raises:
            OutputError: A folder holds foreign files.
        """
        self.prepare()
        for part in parts:
            if not all(folder.is_dir() for folder in part.ports.values()):
                continue
            for key, entry in part.finished().items():
                for port in entry["files"] if entry["status"] == "done" else ():
                    move_into_place(part.ports[port] / key, self.ports[port] / key)
                self.note(entry)

    def remove(self) -> None:
        """Remove every port folder."""
        for folder in self.ports.values():
            shutil.rmtree(folder, ignore_errors=True)

    def parents(self) -> dict[str, str] | None:
        """Input port -> record digest as an earlier, complete run recorded them; None when there was none."""
        records = [lineage.read(folder) if folder.is_dir() else None for folder in self.ports.values()]
        if self.journal.exists() or not records or records[0] is None or None in records:
            return None
        return records[0].parents

    def lists(self, entries: list[dict[str, Any]], skipped: list[dict[str, str]]) -> bool:
        """Whether every port folder holds exactly this `units.json`."""
        text = self._table(entries, skipped)
        places = [folder / UNITS for folder in self.ports.values()]
        return all(place.is_file() and place.read_text(encoding="utf-8") == text for place in places)

    def note(self, entry: Mapping[str, Any]) -> None:
        """Append one finished unit to the journal, in one write."""
        handle = os.open(self.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, (json.dumps(entry) + "\n").encode())
        finally:
            os.close(handle)

    def finished(self) -> dict[str, dict[str, Any]]:
        """Unit key -> entry of every unit that an earlier run finished and whose files are all there."""
        entries = self._from_journal() if self.journal.is_file() else self._from_records()
        return {key: entry for key, entry in entries.items() if self._complete(entry)}

    def write_record(self, folder: Path, record: lineage.Record, files: Mapping[str, Mapping[str, str]]) -> None:
        """Write `lineage.json` into a port folder."""
        done = record.with_files(files)
        place = self.ports[record.port]
        if any(value_place(place, record.port, name) != path for name, path in self.values.items()):
            done.environment = {**done.environment, "values": lineage.APART}
        write_atomic(folder / LINEAGE, done.to_json())
        self.records.append(done)

    def write_units(self, entries: list[dict[str, Any]], skipped: list[dict[str, str]]) -> str:
        """Write `units.json` into every port folder, drop folders of units that are not done, return its text."""
        text = self._table(entries, skipped)
        done = {entry["key"] for entry in entries if entry["status"] == "done"}
        for folder in self.ports.values():
            for stale in folder.iterdir():
                if stale.is_dir() and stale.name not in done:
                    shutil.rmtree(stale)
            write_atomic(folder / UNITS, text)
        return text

    @staticmethod
    def _table(entries: list[dict[str, Any]], skipped: list[dict[str, str]]) -> str:
        shown = ("key", "status", "error", "text", "findings")
        return write_table([{name: entry[name] for name in shown} for entry in entries], skipped)

    def close(self) -> None:
        """Remove the journal: everything in it stands in `units.json` and `lineage.json` now."""
        self.journal.unlink(missing_ok=True)

    def _roll_forward(self, entry: Mapping[str, Any]) -> None:
        """Move the folders of a unit that was noted but not yet in place."""
        for port, files in entry["files"].items():
            partial = self.ports[port] / f"{PARTIAL}{entry['key']}"
            if _is_intact(partial, files):
                move_into_place(partial, self.ports[port] / entry["key"])

    def _complete(self, entry: Mapping[str, Any]) -> bool:
        if entry["status"] != "done":
            return entry["error"] in {"InputError", "ContractError"}
        return set(entry["files"]) == set(self.ports) and all(
            _is_intact(folder / entry["key"], entry["files"][port]) for port, folder in self.ports.items()
        )

    def _from_journal(self) -> dict[str, dict[str, Any]]:
        entries = {}
        for line in self.journal.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # the last line of a killed run
            entries[entry["key"]] = entry
        return entries

    def _from_records(self) -> dict[str, dict[str, Any]]:
        first = next(iter(self.ports.values()))
        table = read_table(first)
        records = {port: lineage.read(folder) for port, folder in self.ports.items()}
        if table is None or any(record is None for record in records.values()):
            return {}
        listed = {unit["key"]: unit for unit in table["units"] if unit["status"] != "absent"}
        entries = {}
        for unit in records[next(iter(records))].units:  # type: ignore[union-attr]
            if unit.key in listed:
                files = {port: _below(record, unit.key) for port, record in records.items()}
                entries[unit.key] = {
                    **listed[unit.key],
                    "identity": unit.identity,
                    "inputs": unit.inputs,
                    "repairs": unit.repairs,
                    "statements": unit.statements,
                    "exit_code": 3,
                    "files": files,
                }
        return entries


def _is_intact(folder: Path, files: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether a folder holds just these files, to the byte: what was altered or cut short since is made again."""
    if not folder.is_dir():
        return False
    found = {name: path for name, path in files_below(folder).items() if name != LINEAGE}
    return found.keys() == files.keys() and digest_files(dict(found)) == {
        name: told["sha256"] for name, told in files.items()
    }


def _below(record: lineage.Record | None, key: str) -> dict[str, dict[str, str]]:
    start = f"{key}/"
    return {
        name.removeprefix(start): one
        for name, one in (record.files if record else {}).items()
        if name.startswith(start)
    }
