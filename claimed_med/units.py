"""Units of work: find them in any folder, join several ports on them, and list them in `units.json`.

The key of a unit is the first 16 hex of the sha256 of its sorted SOPInstanceUIDs; a derived output keeps the key of
its source. Standard library only at the top.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from claimed_med import lineage
from claimed_med.errors import InputError, name_of
from claimed_med.handle import Handle
from claimed_med.handles import KINDS, DicomSeries, _Dicom
from claimed_med.payload import UNITS, digest_files, payload_digest, sha256_of
from claimed_med.secret import keyed_hash, pseudonym

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from claimed_med.component import Contract

_UID = re.compile(r"[0-9.]{1,64}")


@dataclass
class Unit:
    """One unit of work.

    Attributes:
        key: The unit key.
        handles: Input port -> handle; empty when the unit is absent.
        sources: Input port -> SOPInstanceUIDs, for ports whose data have no lineage record of their own.
        subjects: Input port -> {"series_uids", "patients"} of what a scan found; patients by keys, not by names.
        references: SOPInstanceUIDs that a derived object refers to; used to join it with its source.
        error: Error class of a unit that is absent because it was quarantined upstream, or ''.
        text: The original reason.
        findings: Names of the original findings.
    """

    key: str
    handles: dict[str, Handle] = field(default_factory=dict)
    sources: dict[str, list[str]] = field(default_factory=dict)
    subjects: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    references: frozenset[str] = frozenset()
    error: str = ""
    text: str = ""
    findings: list[str] = field(default_factory=list)


@dataclass
class Found:
    """What the input ports hold.

    Attributes:
        units: Joined units, sorted by key.
        skipped: What belongs to no unit: {"file", "finding", "text"}.
        parents: Input port -> the record that lies beside it.
    """

    units: list[Unit]
    skipped: list[dict[str, str]]
    parents: dict[str, lineage.Record]


def key_of(sop_uids: Iterable[str]) -> str:
    """The unit key of a set of SOPInstanceUIDs."""
    return hashlib.sha256("\n".join(sorted(sop_uids)).encode()).hexdigest()[:16]


def named_files(files: Sequence[Path], sop_uids: Sequence[str]) -> dict[str, Path]:
    """Name source files by their SOPInstanceUID: source names may hold patient names and are never reused."""
    named: dict[str, Path] = {}
    for path, uid in zip(files, sop_uids, strict=True):
        name = f"{uid}.dcm" if _UID.fullmatch(uid or "") else ""
        if not name or (name in named and named[name] != path):
            name = f"{sha256_of(path)[:16]}.dcm"
        named[name] = path
    return named


def find(contract: Contract, ports: Mapping[str, Handle]) -> Found:
    """Find the units in every port and join them on their keys.

    Raises:
        InputError: A path does not exist, or nothing in it is a unit of this component.
    """
    found = Found([], [], {})
    sides: dict[str, dict[str, Unit]] = {}
    shared: dict[str, Handle] = {}
    for port in contract.inputs:
        handle = ports[port.name]
        if handle.path is not None and (record := lineage.read(handle.path)):
            found.parents[port.name] = record
        if not handle.per_unit:
            shared[port.name] = handle
            continue
        sides[port.name] = {unit.key: unit for unit in _units_of(contract, port.name, handle, found)}
        if not sides[port.name]:
            raise InputError(
                contract.name,
                f"port {port.name} holds nothing to process",
                allowed=f"{'image volumes' if port.kind == 'DicomSeries' else port.kind}",
                do="check the folder that was given"
                + (f"; {len(found.skipped)} files were skipped" if found.skipped else ""),
            )
    found.units = _join(contract, sides)
    for unit in found.units:
        if not unit.error:
            unit.handles.update(shared)
    if contract.border:
        _cross(found)
    found.skipped.sort(key=lambda one: (one["file"], one["finding"]))
    return found


def _cross(found: Found) -> None:
    """Name what went in by keyed hashes only: the record of a border must not lead back without the secret."""
    for unit in found.units:
        unit.key = keyed_hash("unit", unit.key)[:16] if unit.key else ""
        unit.sources = {port: sorted(keyed_hash("uid", one) for one in uids) for port, uids in unit.sources.items()}
        unit.subjects = {
            port: {
                name: sorted(keyed_hash("uid" if name == "series_uids" else "patient", one) for one in values)
                for name, values in told.items()
            }
            for port, told in unit.subjects.items()
        }
    for skip in found.skipped:
        skip["file"] = f"file {keyed_hash('file', skip['file'])[:12]}"


def single(contract: Contract, ports: Mapping[str, Handle]) -> Found:
    """The one unit that the ports hold, for a call from Python.

    Raises:
        InputError: A port on disk holds several units.
    """
    found = Found([], [], {})
    unit = Unit(key="")
    for port in contract.inputs:
        handle = ports[port.name]
        mapped = contract.over and handle.per_unit
        one = _on_disk_single(contract, port.name, handle, found) if mapped else Unit("", {port.name: handle})
        unit.key = unit.key or one.key
        unit.handles[port.name] = one.handles[port.name]
        unit.sources.update(one.sources)
        unit.subjects.update(one.subjects)
        if handle.record is not None:
            found.parents[port.name] = handle.record
        elif handle.path is not None and (record := lineage.read(handle.path)):
            found.parents[port.name] = record
    found.units = [unit]
    if contract.border:
        _cross(found)
    return found


def write_table(units: Iterable[Mapping[str, Any]], skipped: Sequence[Mapping[str, str]]) -> str:
    """The text of `units.json`: sorted, without times."""
    listed = sorted(units, key=lambda one: str(one["key"]))
    return json.dumps({"units": listed, "skipped": list(skipped)}, indent=1, sort_keys=True) + "\n"


def read_table(folder: Path) -> dict[str, Any] | None:
    """`units.json` of a port folder, or None."""
    file = folder / UNITS
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None


def _on_disk_single(contract: Contract, port: str, handle: Handle, found: Found) -> Unit:
    if handle.in_memory:
        datasets = handle.datasets() if isinstance(handle, _Dicom) else []
        key = getattr(handle, "key", "") or (key_of(str(one.SOPInstanceUID) for one in datasets) if datasets else "")
        return Unit(key, {port: handle})
    if handle.files is not None:
        return Unit(getattr(handle, "key", "") or _key_of_files(handle), {port: handle})
    units = _units_of(contract, port, handle, found)
    ready = [unit for unit in units if unit.handles]
    if len(ready) != 1:
        raise InputError(
            contract.name,
            f"port {port} must hold one unit of work",
            got=f"{len(ready)}",
            do="choose one of DicomCollection(path).series(), or use `claimed-med run` for the whole folder",
            findings=[skip["finding"] for skip in found.skipped],
        )
    return ready[0]


def _key_of_files(handle: Handle) -> str:
    frames = handle.frames or {}
    stems = [name.removesuffix(".dcm") for name in (handle.files or {})]
    return key_of(f"{uid}#{','.join(map(str, frames[uid]))}" if uid in frames else uid for uid in stems)


def _units_of(contract: Contract, port: str, handle: Handle, found: Found) -> list[Unit]:
    cls = KINDS[contract.input(port).kind]
    if handle.path is None:
        return [_on_disk_single(contract, port, handle, found)]
    if not handle.path.exists():
        raise InputError(contract.name, f"the path of port {port} does not exist", do="check the path that was given")
    table = read_table(handle.path)
    if contract.over == "patient":
        return _patients(port, cls, handle.path, found)
    if table is not None:
        found.skipped.extend(table["skipped"])
        return [_listed(cls, port, handle.path, entry) for entry in table["units"]]
    if handle.path.is_dir() and (handle.path.parent / UNITS).is_file():
        return [Unit(handle.path.name, {port: cls(handle.path)})]
    if issubclass(cls, _Dicom):
        return _scanned(contract, port, cls, handle.path, found)
    digests = digest_files(cls(handle.path).payload())
    return [Unit(payload_digest(digests)[:16], {port: cls(handle.path)})] if digests else []


def _patients(port: str, cls: type[Handle], path: Path, found: Found) -> list[Unit]:
    """Every DICOM object below a folder, by patient; how the objects are grouped there does not matter."""
    from claimed_med.dicom.patients import by_patient

    groups, skipped = by_patient(path)
    found.skipped += [{"file": name_of(one), "finding": finding.name, "text": finding.text} for one, finding in skipped]
    return [_unit(port, cls, key_of(uids), files, uids, None) for files, uids in groups]


def _listed(cls: type[Handle], port: str, folder: Path, entry: Mapping[str, Any]) -> Unit:
    if entry["status"] == "done":
        return Unit(entry["key"], {port: cls(folder / entry["key"])})
    return Unit(entry["key"], error=entry["error"], text=entry["text"], findings=list(entry.get("findings", [])))


def _scanned(contract: Contract, port: str, cls: type[Handle], path: Path, found: Found) -> list[Unit]:
    from claimed_med.dicom.scan import scan

    result = scan(path)
    for skip in result.skipped:
        found.skipped.append({"file": name_of(skip.path), "finding": skip.finding.name, "text": skip.finding.text})
    derived = not issubclass(cls, DicomSeries) and contract.over in {"series", "instance"}
    if derived and cls.file_name:
        return _objects(port, cls, result.others)
    if contract.over == "series":
        for other in result.others:
            text = "this object is no image volume; it was left alone"
            found.skipped.append({"file": name_of(other.path), "finding": "NoVolume", "text": text})
        return [
            _told(_unit(port, cls, one.key, one.files, one.sop_uids, one.frames), port, [one]) for one in result.volumes
        ]
    return _grouped(contract.over, port, cls, result)


def _objects(port: str, cls: type[Handle], others: Sequence[Any]) -> list[Unit]:
    units = []
    for one in others:
        unit = _told(_unit(port, cls, key_of([one.sop_uid]), [one.path], [one.sop_uid], None), port, [one])
        unit.references = frozenset(one.references)
        units.append(unit)
    return units


def _grouped(over: str, port: str, cls: type[Handle], result: Any) -> list[Unit]:
    members: dict[str, dict[Path, str]] = {}
    subjects: dict[str, list[Any]] = {}
    for one in result.volumes:
        for path, uid in zip(one.files, one.sop_uids, strict=True):
            group = {"study": one.study_uid, "patient": one.patient_key_source, "instance": uid}[over]
            members.setdefault(group, {})[path] = uid
            subjects.setdefault(group, []).append(one)
    for other in result.others:
        group = {"study": other.study_uid, "patient": other.patient_key_source, "instance": other.sop_uid}[over]
        members.setdefault(group, {})[other.path] = other.sop_uid
        subjects.setdefault(group, []).append(other)
    return [
        _told(_unit(port, cls, key_of(files.values()), list(files), list(files.values()), None), port, subjects[group])
        for group, files in members.items()
    ]


def _unit(port: str, cls: type[Handle], key: str, files: Sequence[Path], uids: Sequence[str], frames: Any) -> Unit:
    return Unit(key, {port: cls.from_files(named_files(files, uids), frames)}, {port: sorted(uids)})


def _told(unit: Unit, port: str, found: Sequence[Any]) -> Unit:
    """Note series and patients of what a scan found; patients by the key that cohort tables use."""
    patients = {one.patient_key_source or one.study_uid for one in found}
    unit.subjects[port] = {
        "series_uids": sorted({one.series_uid for one in found if one.series_uid}),
        "patients": sorted(pseudonym("patient", one) for one in patients if one),
    }
    return unit


def _join(contract: Contract, sides: dict[str, dict[str, Unit]]) -> list[Unit]:
    first, *others = sides
    joined = sides[first]
    for name in others:
        side = sides[name]
        if len(joined) == len(side) == 1:
            side = {next(iter(joined)): next(iter(side.values()))}
        else:
            side = _by_reference(joined, first, side)
        joined = {key: _merged(contract, key, joined.get(key), side.get(key), name) for key in sorted({*joined, *side})}
    return [joined[key] for key in sorted(joined)]


def _by_reference(joined: Mapping[str, Unit], port: str, side: dict[str, Unit]) -> dict[str, Unit]:
    """Give derived objects that were found loose the key of the unit to whose images they refer.

    Where the other side lists its units without their instances, the key follows from what an object refers to: all
    instances of its source.
    """
    owner = {uid: key for key, unit in joined.items() for uid in unit.sources.get(port, [])}
    found: dict[str, Unit] = {}
    for key, one in side.items():
        source = key_of(one.references) if one.references else ""
        found[
            next((owner[uid] for uid in sorted(one.references) if uid in owner), source if source in joined else key)
        ] = one
    return found


def _merged(contract: Contract, key: str, left: Unit | None, right: Unit | None, port: str) -> Unit:
    for unit in (left, right):
        if unit is not None and unit.error:
            return Unit(key, error=unit.error, text=unit.text, findings=unit.findings)
    if left is None or right is None:
        missing = port if right is None else contract.inputs[0].name
        return Unit(key, error="InputError", text=f"{contract.name}: port {missing} has nothing for this unit.")
    return Unit(
        key,
        {**left.handles, **right.handles},
        {**left.sources, **right.sources},
        {**left.subjects, **right.subjects},
    )
