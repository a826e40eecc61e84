"""Recompute the digests of port folders and name every file that changed. Standard library only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from claimed_med import lineage
from claimed_med.errors import InputError
from claimed_med.payload import LINEAGE, digest_files, files_below, payload_digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Change:
    """One deviation from a record.

    Attributes:
        kind: `changed`, `missing`, `added` or `record` (the record itself does not hold together).
        name: The file, relative to the folder that was verified.
        text: What is wrong.
    """

    kind: str
    name: str
    text: str


def verify(folder: Path) -> tuple[int, list[Change]]:
    """Verify every port folder in `folder` against its record.

    Args:
        folder: A port folder, or any folder above port folders.

    Returns:
        Number of files that were compared, and every deviation.

    Raises:
        InputError: There is no record below the folder.
    """
    places = sorted(path.parent for path in folder.rglob(LINEAGE)) if folder.is_dir() else []
    if not places:
        raise InputError(
            "lineage verify", "no lineage.json lies below this folder", do="name an output folder of a run"
        )
    n_files, changes = 0, []
    for place in places:
        base = place.relative_to(folder).as_posix()
        start = "" if base == "." else f"{base}/"
        count, found = _verify_port(place)
        n_files += count
        changes += [Change(one.kind, start + one.name, one.text) for one in found]
    return n_files, changes


def _verify_port(place: Path) -> tuple[int, list[Change]]:
    try:
        record = lineage.read(place)
    except InputError as error:
        return 1, [Change("record", LINEAGE, str(error))]
    if record is None:
        return 1, [Change("record", LINEAGE, "the record is missing")]
    entries = {name: path for name, path in files_below(place).items() if name != LINEAGE}
    digests = digest_files(dict(entries))
    return len(entries) + 1, [*_differences(record, digests), *_inconsistencies(record)]


def _differences(record: lineage.Record, digests: dict[str, str]) -> Iterator[Change]:
    for name in sorted({*record.files, *digests}):
        if name not in digests:
            yield Change("missing", name, "the record lists this file, but it is not there")
        elif name not in record.files:
            yield Change("added", name, "this file is not in the record")
        elif digests[name] != record.files[name]["sha256"]:
            yield Change("changed", name, "the content is not what the run wrote")


def _inconsistencies(record: lineage.Record) -> Iterator[Change]:
    listed = {name: one["sha256"] for name, one in record.files.items()}
    if payload_digest(listed) != record.payload:
        yield Change("record", LINEAGE, "the payload digest does not fit the list of files")
    for name, ancestor in sorted(record.ancestors.items()):
        if _digest_of(ancestor) != name:
            yield Change("record", LINEAGE, f"the record of the ancestor {name[:12]} was altered")
    for port, name in sorted(record.parents.items()):
        if name not in record.ancestors:
            yield Change("record", LINEAGE, f"the record of the parent at port {port} is missing")


def _digest_of(ancestor: dict[str, Any]) -> str:
    try:
        return lineage.Record.from_dict(json.loads(json.dumps(ancestor))).digest()
    except (TypeError, KeyError):
        return ""
