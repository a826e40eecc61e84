"""Recompute the digests of outputs, records and crates, and name every place that changed.

Without a key the records are the measure; with the public key of the hospital the signature is, and the records
themselves are covered too.
"""

from __future__ import annotations

import glob
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from claimed_med import lineage, registry
from claimed_med.errors import ClaimedMedError, InputError
from claimed_med.lineage import APART
from claimed_med.payload import LINEAGE, digest_files, files_below, payload_digest, value_place
from claimed_med.provenance import runfile, sign

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

CRATE = "ro-crate-metadata.json"


@dataclass(frozen=True)
class Change:
    """One deviation from a record or signature.

    Attributes:
        kind: `changed`, `missing`, `added`, `renamed`, `swapped`, `record` (a record does not hold together, or a field
            of it was altered) or `signature`.
        name: The file, relative to the folder that was verified.
        text: What is wrong.
    """

    kind: str
    name: str
    text: str


def verify(folder: Path, key: Path | None = None) -> tuple[int, list[Change]]:
    """Verify every port folder in `folder` against its record, and the whole folder against its signature.

    Args:
        folder: A port folder, any folder above port folders, or a crate.
        key: Public key of the hospital; the folder must be signed with it. None: signatures are not looked at.

    Returns:
        Number of files that were compared, and every deviation, each once.

    Raises:
        InputError: There is no record below the folder, or the key cannot be read.
    """
    places = sorted(path.parent for path in folder.rglob(LINEAGE)) if folder.is_dir() else []
    if not places and key is None:
        raise InputError(
            "lineage verify", "no lineage.json lies below this folder", do="name an output folder of a run"
        )
    n_files, changes = 0, []
    carried = _listed_in_crate(folder)
    records: dict[Path, lineage.Record] = {}
    for place in places:
        base = place.relative_to(folder).as_posix()
        start = "" if base == "." else f"{base}/"
        inside = None if carried is None else {name.removeprefix(start) for name in carried if name.startswith(start)}
        record, found = _read(place)
        count = 1
        if record is not None:
            records[place] = record
            count, found = _verify_port(place, record, inside)
        n_files += count
        changes += [Change(one.kind, start + one.name, one.text) for one in found]
    count, found = _verify_values(folder, records, carried)
    n_files += count
    changes += [*found, *_verify_run(folder), *_verify_crate(folder)]
    if key is not None:
        signed, n_signed = _verify_signed(folder, key)
        told = {(one.kind, one.name) for one in signed}
        changes = signed + [one for one in changes if (one.kind, one.name) not in told]
        n_files = max(n_files, n_signed)
    return n_files, list(dict.fromkeys(changes))


def _read(place: Path) -> tuple[lineage.Record | None, list[Change]]:
    try:
        record = lineage.read(place)
    except InputError as error:
        return None, [Change("record", LINEAGE, str(error))]
    return record, [] if record is not None else [Change("record", LINEAGE, "the record is missing")]


def _verify_port(place: Path, record: lineage.Record, carried: set[str] | None) -> tuple[int, list[Change]]:
    """Verify one port folder; in a crate, files that it does not carry may be missing."""
    entries = {name: path for name, path in files_below(place).items() if name != LINEAGE}
    digests = digest_files(dict(entries))
    expected = {
        name: one["sha256"]
        for name, one in record.files.items()
        if carried is None or name in carried or name in digests
    }
    return len(entries) + 1, [*differences(expected, digests, "the record"), *_inconsistencies(record)]


def _verify_values(
    folder: Path, records: Mapping[Path, lineage.Record], carried: Mapping[str, str] | None
) -> tuple[int, list[Change]]:
    """Verify the values beside port folders; a port that stands alone, carried elsewhere, needs none."""
    own = {place: dict(_values_of(place, one)) for place, one in records.items() if place != folder}
    told = {path for values in own.values() for path in values}
    seen: set[str] = set()
    changes: list[Change] = []
    for place, values in own.items():
        others = set(_like_values(place, records[place].port)) - told if values else set()
        here = {path.relative_to(folder).as_posix(): path for path in (*values, *others) if path.is_file()}
        is_apart = records[place].environment.get("values") == APART
        expected = {
            name: digest
            for path, digest in values.items()
            if (name := path.relative_to(folder).as_posix()) in here
            or not (is_apart or (carried is not None and name not in carried))
        }
        changes += differences(expected, digest_files(dict(here)), "the record")
        seen.update(here)
    return len(seen), changes


def _values_of(place: Path, record: lineage.Record) -> Iterator[tuple[Path, str]]:
    for name, digest in record.values.items():
        path = value_place(place, record.port, name)
        if path is not None:
            yield path, digest


def _like_values(place: Path, port: str) -> Iterator[Path]:
    """Whatever lies beside a port as a value would: a file without an ending."""
    start = place.name.removesuffix(port)
    for path in place.parent.glob(f"{glob.escape(start)}*"):
        if "." not in path.name.removeprefix(start):
            yield path


def differences(expected: Mapping[str, str], found: Mapping[str, str], measure: str) -> Iterator[Change]:
    """How the files of a folder differ from a list of digests.

    Args:
        expected: Relative name -> sha256 as listed.
        found: Relative name -> sha256 as computed.
        measure: What lists them, for the text.
    """
    missing, added = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    for name in list(missing):
        twin = next((one for one in added if found[one] == expected[name]), None)
        if twin is not None:
            missing.remove(name)
            added.remove(twin)
            yield Change("renamed", name, f"its content is now in {twin}")
    yield from (Change("missing", name, f"{measure} lists this file, but it is not there") for name in missing)
    yield from (Change("added", name, f"this file is not in {measure}") for name in added)
    changed = [name for name in sorted(set(expected) & set(found)) if expected[name] != found[name]]
    for name in changed:
        twin = next((one for one in changed if _swapped(expected, found, name, one)), None)
        if twin is not None:
            yield Change("swapped", name, f"its content and that of {twin} were exchanged")
        else:
            yield Change("changed", name, f"the content is not what {measure} lists")


def _swapped(expected: Mapping[str, str], found: Mapping[str, str], one: str, other: str) -> bool:
    return one != other and found[one] == expected[other] and found[other] == expected[one]


def _verify_run(folder: Path) -> Iterator[Change]:
    try:
        run = runfile.read(folder)
    except InputError as error:
        yield Change("record", runfile.NAME, str(error))
        return
    if run is not None and not run.is_whole():
        yield Change("record", runfile.NAME, "the pipeline in it is not the one of the digest")


def _listed_in_crate(folder: Path) -> dict[str, str] | None:
    """Relative name -> sha256 of every file that the metadata of a crate lists; None when it is no crate."""
    try:
        graph = json.loads((folder / CRATE).read_text(encoding="utf-8"))["@graph"]
        return {str(one["@id"]): str(one["sha256"]) for one in graph if one.get("sha256") and _is_inside(one)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _verify_crate(folder: Path) -> Iterator[Change]:
    if not (folder / CRATE).is_file():
        return
    listed = _listed_in_crate(folder)
    if listed is None:
        yield Change("record", CRATE, "the crate's metadata cannot be read")
        return
    here = sign.digests_below(folder)
    yield from differences(listed, {name: here[name] for name in here if name != CRATE}, "the crate")


def _is_inside(entity: Mapping[str, Any]) -> bool:
    kinds = entity.get("@type", "")
    return "File" in (kinds if isinstance(kinds, list) else [kinds]) and ":" not in str(entity["@id"])


def _verify_signed(folder: Path, key: Path) -> tuple[list[Change], int]:
    try:
        signed = sign.attested(folder, key)
    except sign.BadSignature as why:
        return [Change("signature", sign.NAME, str(why))], 0
    here = sign.digests_below(folder)
    changes = list(differences(signed.files, here, "the signature"))
    for one in list(changes):
        if one.kind in {"changed", "swapped"} and one.name in signed.records:
            changes += [Change("record", one.name, text) for text in _fields(folder, one.name, signed)]
    return changes, len(here)


def _fields(folder: Path, name: str, signed: sign.Attested) -> list[str]:
    """Which fields of a record were altered."""
    try:
        now = sign.record_in(folder / name)
    except InputError:
        return ["it is no JSON any more"]
    return [f"{place}: signed {old}, now {new}" for place, old, new in altered(signed.records[name], now)]


def altered(old: Any, new: Any, place: str = "") -> Iterator[tuple[str, str, str]]:
    """Every place in which two JSON values differ: (path, old, new); what is not there is `nothing`."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            yield from altered(old.get(name, _NOTHING), new.get(name, _NOTHING), f"{place}.{name}" if place else name)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, pair in enumerate(zip(old, new, strict=True)):
            yield from altered(*pair, f"{place}[{index}]")
    elif old != new or type(old) is not type(new):
        yield place, _short(old), _short(new)


_NOTHING = object()
_LONGEST = 80


def _short(value: Any) -> str:
    text = "nothing" if value is _NOTHING else json.dumps(value, sort_keys=True)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _inconsistencies(record: lineage.Record) -> Iterator[Change]:
    listed = {name: one["sha256"] for name, one in record.files.items()}
    if payload_digest(listed) != record.payload:
        yield Change("record", LINEAGE, "the payload digest does not fit the list of files")
    for name, ancestor in sorted(record.ancestors.items()):
        if _digest_of(ancestor) != name:
            yield Change("record", LINEAGE, f"the record of the ancestor {name[:12]} was altered")
    for port, name in sorted(record.parents.items()):
        if name not in record.ancestors and not _is_border(record):
            yield Change("record", LINEAGE, f"the record of the parent at port {port} is missing")
    yield from (
        Change("record", LINEAGE, f"what came in at port {port} is not what its parent made")
        for port in sorted(_parted(record))
    )


def _parted(record: lineage.Record) -> Iterator[str]:
    """Ports of a whole-folder run at which something else came in than the parent, a whole folder too, put out."""
    whole = {
        name: ancestor["payload"]
        for name, ancestor in record.ancestors.items()
        if _digest_of(ancestor) == name and [one["key"] for one in ancestor.get("units", ())] == [""]
    }
    for unit in record.units:
        for port, told in unit.inputs.items() if not unit.key else ():
            made = whole.get(record.parents.get(port, ""))
            if made is not None and isinstance(told, dict) and told.get("digest") != made:
                yield port


def _is_border(record: lineage.Record) -> bool:
    """Whether lineage ends at this component, which names what came in by keyed hashes only."""
    try:
        return registry.get(record.component).contract.border
    except ClaimedMedError:
        return False


def _digest_of(ancestor: dict[str, Any]) -> str:
    try:
        return lineage.Record.from_dict(json.loads(json.dumps(ancestor))).digest()
    except (TypeError, KeyError, AttributeError, ValueError, ClaimedMedError):
        return ""
