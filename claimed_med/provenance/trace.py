"""The way from an output back to its source SOP instances, out of the record beside it. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from claimed_med import lineage
from claimed_med.errors import InputError
from claimed_med.payload import LINEAGE

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Step:
    """One run on the way.

    Attributes:
        digest: Digest of its record.
        record: The record.
        parents: Input port -> digest of the parent's record.
    """

    digest: str
    record: lineage.Record
    parents: dict[str, str] = field(default_factory=dict)


@dataclass
class Trace:
    """The way back.

    Attributes:
        unit: Unit key to which the trace is narrowed, or ''.
        file: Relative name of the file that was asked for, or ''.
        steps: From the output back to the source, each once.
        sources: Unit key -> SOPInstanceUIDs that entered from outside.
        done: Keys of the units that the output holds; units that were quarantined on the way are left out.
    """

    unit: str
    file: str
    steps: list[Step]
    sources: dict[str, list[str]]
    done: frozenset[str] = frozenset()

    def as_dict(self) -> dict[str, Any]:
        """The trace as JSON-ready values."""
        return {
            "unit": self.unit,
            "file": self.file,
            "steps": [
                {
                    "record": step.digest,
                    "component": step.record.component,
                    "version": step.record.version,
                    "port": step.record.port,
                    "settings": step.record.settings,
                    "weights": step.record.weights,
                    "payload": step.record.payload,
                    "identity": {unit.key: unit.identity for unit in step.record.units if self.covers(unit.key)},
                    "parents": step.parents,
                    "environment": step.record.environment,
                }
                for step in self.steps
            ],
            "sources": self.sources,
        }

    def covers(self, key: str) -> bool:
        """Whether a unit belongs to what was asked for."""
        return not key or key == self.unit or (not self.unit and (not self.done or key in self.done))


def trace(place: Path) -> Trace:
    """Follow the records from a file or folder back to where the data entered.

    Args:
        place: An output port folder, a unit folder in it, or a file in either.

    Raises:
        InputError: No record lies beside it.
    """
    folder = place if place.is_dir() else place.parent
    record = lineage.read(folder)
    if record is None:
        raise InputError(
            "lineage show",
            "no record lies beside this output",
            do="name the folder of an output port (RUN/TASK/PORT), or a file in it",
        )
    base = folder if (folder / LINEAGE).is_file() else folder.parent
    name = "" if place.is_dir() else place.relative_to(base).as_posix()
    unit = folder.name if base != folder else ""
    done = frozenset(one.key for one in record.units if one.status == "done" and one.key)
    found = Trace(unit, name, [], {}, done)
    _follow(found, record.digest(), record, record.ancestors, set())
    return found


def _follow(
    found: Trace, digest: str, record: lineage.Record, ancestors: dict[str, dict[str, Any]], seen: set[str]
) -> None:
    if digest in seen:
        return
    seen.add(digest)
    found.steps.append(Step(digest, record, dict(record.parents)))
    for unit in record.units:
        if found.covers(unit.key):
            for told in unit.inputs.values():
                if told.get("sop_uids"):
                    found.sources.setdefault(unit.key, [])
                    found.sources[unit.key] = sorted({*found.sources[unit.key], *told["sop_uids"]})
    for parent in record.parents.values():
        if parent in ancestors:
            _follow(found, parent, lineage.Record.from_dict(ancestors[parent]), ancestors, seen)


def as_table(found: Trace) -> str:
    """The trace as text: one line a step, then the source instances."""
    lines = []
    for number, step in enumerate(found.steps):
        settings = ", ".join(f"{name}={value}" for name, value in sorted(step.record.settings.items())) or "no settings"
        lines.append(
            f"{number:>2}  {step.record.component} {step.record.version} -> {step.record.port}  [{step.digest[:12]}]"
        )
        lines.append(f"      {settings}")
        if step.record.weights:
            lines.append(f"      weights sha256 {step.record.weights[:12]}")
    for key, uids in sorted(found.sources.items()):
        lines += [
            f"source SOP instances{' of unit ' + key if key else ''}: {len(uids)}",
            *(f"      {uid}" for uid in uids),
        ]
    return "\n".join(lines)


def as_mermaid(found: Trace) -> str:
    """The trace as a Mermaid flow chart, source at the top."""
    lines = ["flowchart TD"]
    lines += [
        f'    r{step.digest[:12]}["{step.record.component} {step.record.version}<br/>{step.record.port}"]'
        for step in found.steps
    ]
    for step in found.steps:
        for port, parent in sorted(step.parents.items()):
            lines.append(f"    r{parent[:12]} -->|{port}| r{step.digest[:12]}")
    for key, uids in sorted(found.sources.items()):
        lines.append(f'    s{key or "all"}[("{len(uids)} source SOP instances{"<br/>unit " + key if key else ""}")]')
        lines += [f"    s{key or 'all'} --> r{step.digest[:12]}" for step in roots_of(found, key)]
    return "\n".join(lines)


def roots_of(found: Trace, key: str) -> list[Step]:
    """The steps at which the source instances of a unit came in."""
    return [
        step
        for step in found.steps
        if any(told.get("sop_uids") for unit in step.record.units for told in unit.inputs.values() if unit.key == key)
    ]
