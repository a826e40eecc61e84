"""How two runs differ: settings, versions, weights, inputs, environment and outputs, task by task."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from claimed_med import lineage
from claimed_med.errors import InputError
from claimed_med.payload import LINEAGE
from claimed_med.provenance import runfile
from claimed_med.provenance.verify import altered

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_TIMES = frozenset({"started", "ended"})
_DECIDES = ("component", "version", "settings", "locations", "weights")


@dataclass(frozen=True)
class Difference:
    """One difference between two runs.

    Attributes:
        place: Task and port, or '' for the run as a whole.
        what: Name of what differs (`settings.threshold_hu`, `versions.numpy`, `output`).
        old: In the first run.
        new: In the second.
    """

    place: str
    what: str
    old: str
    new: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.place or 'run'}: {self.what}: {self.old} -> {self.new}"

    def as_dict(self) -> dict[str, str]:
        """JSON-ready values."""
        return asdict(self)


def records_below(run: Path) -> dict[str, lineage.Record]:
    """Relative folder -> record of every output port of a run.

    Raises:
        InputError: There is none, or one cannot be read.
    """
    places = sorted(path.parent for path in run.rglob(LINEAGE)) if run.is_dir() else []
    found = {place.relative_to(run).as_posix(): lineage.read(place) for place in places}
    if not found:
        raise InputError("lineage", "no lineage.json lies below this folder", do="name a folder that a run wrote")
    return {name: record for name, record in found.items() if record is not None}


def diff(first: Path, second: Path) -> list[Difference]:
    """All differences of two runs, what decides the result first; times are left out.

    Args:
        first: A run folder, or the output folder of one component.
        second: Another.

    Raises:
        InputError: A folder holds no record.
    """
    one, other = records_below(first), records_below(second)
    found = list(_of_runs(runfile.read(first), runfile.read(second)))
    for place in sorted({*one, *other}):
        if place not in one or place not in other:
            found.append(
                Difference(place, "task", *(("is there", "missing") if place in one else ("missing", "is there")))
            )
        else:
            found += of_records(place, one[place], other[place])
    return found


def of_records(place: str, old: lineage.Record, new: lineage.Record) -> Iterator[Difference]:
    """The differences of two records of the same port."""
    before, after = old.as_dict(), new.as_dict()
    for name in _DECIDES:
        for path, was, is_now in altered(before[name], after[name]):
            yield Difference(place, f"{name}{'.' if path else ''}{path}", was, is_now)
    for path, was, is_now in altered(_inputs(before), _inputs(after)):
        yield Difference(place, f"input.{path}", was, is_now)
    for path, was, is_now in altered(_environment(before), _environment(after)):
        yield Difference(place, path, was, is_now)
    for path, was, is_now in altered(_status(before), _status(after)):
        yield Difference(place, f"units.{path}", was, is_now)
    for path, was, is_now in altered(_values(before), _values(after)):
        yield Difference(place, f"values.{path}", was, is_now)
    if old.payload != new.payload:
        yield Difference(place, "output", old.payload[:12], new.payload[:12])


def _of_runs(old: runfile.RunFile | None, new: runfile.RunFile | None) -> Iterator[Difference]:
    if old is None or new is None:
        return
    pairs = (
        ("pipeline", old.pipeline, new.pipeline),
        ("pipeline digest", old.ir_digest, new.ir_digest),
        ("engine", old.engine, new.engine),
        ("parameters", old.parameters, new.parameters),
        ("environment", old.environment, new.environment),
        ("packages", old.packages, new.packages),
    )
    for name, was, is_now in pairs:
        for path, *values in altered(was, is_now):
            yield Difference("", f"{name}{'.' if path else ''}{path}", *values)


def _inputs(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"{port}{'/' + unit['key'] if unit['key'] else ''}": told["digest"]
        for unit in record["units"]
        for port, told in unit["inputs"].items()
    }


def _values(record: Mapping[str, Any]) -> dict[str, str]:
    return {name: digest[:12] for name, digest in record.get("values", {}).items()}


def _status(record: Mapping[str, Any]) -> dict[str, str]:
    return {unit["key"]: unit["status"] for unit in record["units"]}


def _environment(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record["environment"].items() if name not in _TIMES}
