"""Traces over the border that de-identification is: forward with the secret, backward with the link table.

A record of the border names its sources by HMAC only, and its objects bear derived UIDs. Who holds the secret computes
both from an original and finds what became of it (`lineage forward`); who holds the link table and its key finds the
original of an object (`lineage backward`). Only UIDs are printed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from claimed_med import lineage
from claimed_med.errors import InputError
from claimed_med.payload import LINEAGE
from claimed_med.secret import keyed_hash, secret

_UID = re.compile(r"[0-9.]{1,64}")


@dataclass
class Forward:
    """What became of an original.

    Attributes:
        new_uid: Its SOPInstanceUID behind the border.
        runs: {"folder", "component", "port"} where a record names it as a source, or leads back to such a record.
        files: Files of these folders that bear the new UID.
    """

    new_uid: str
    runs: list[dict[str, str]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)


def forward(original: str, folder: Path) -> Forward:
    """Find what became of an original object.

    Args:
        original: A file, or a SOPInstanceUID.
        folder: Where the outputs of runs lie, at any depth.

    Raises:
        InputError: The file has no SOPInstanceUID, or no run left its record below the folder.
    """
    from claimed_med.dicom.pseudonyms import Keys

    uid = _uid_of(original)
    found = Forward(Keys(secret()).uid(uid))
    crossed = keyed_hash("uid", uid)
    origins: set[str] = set()
    records = [(path.parent, record) for path in sorted(folder.rglob(LINEAGE)) if (record := lineage.read(path.parent))]
    if not records:
        do = "name a folder with outputs of runs"
        raise InputError("lineage forward", "no lineage.json lies below this folder", do=do)
    for place, record in records:
        keys = {
            one.key for one in record.units if any(crossed in told.get("sop_uids", []) for told in one.inputs.values())
        }
        if keys:
            origins.add(record.digest())
            _note(found, folder, place, record)
    behind = {digest for _, one in records if origins & {digest := one.digest(), *one.ancestors}}
    crossings = {keyed_hash("record", digest) for digest in behind}
    for place, record in records:
        if origins & record.ancestors.keys() or crossings & {*record.parents.values()}:
            _note(found, folder, place, record)
    return found


def backward(derived: str, links: Path) -> dict[str, Any]:
    """The original of a de-identified object.

    Args:
        derived: A file, or a SOPInstanceUID.
        links: Port folder of link-identities.

    Returns:
        Its UIDs as they are, and as they were where the table knows them; no original where it knows none.

    Raises:
        InputError: It is no DICOM object and no UID, or the table was sealed with another key.
    """
    from claimed_med.dicom.deid_links import unseal
    from claimed_med.handles import Report

    table = unseal(Report(links).each().values())
    uid = _uid_of(derived)
    references = _references(Path(derived)) if Path(derived).is_file() else []
    return {"uid": uid, "originals": {one: table.uids[one] for one in [uid, *references] if one in table.uids}}


def _note(found: Forward, folder: Path, place: Path, record: lineage.Record) -> None:
    name = place.relative_to(folder).as_posix()
    found.runs.append({"folder": name, "component": record.component, "port": record.port})
    found.files += [
        f"{name}/{file}" for file, told in sorted(record.files.items()) if told.get("sop_uid") == found.new_uid
    ]


def _uid_of(given: str) -> str:
    from claimed_med.dicom.deid_gather import look_at_file

    if Path(given).is_file():
        given = look_at_file(Path(given)).sop_uid
    if not _UID.fullmatch(given):
        do = "check the path or UID"
        raise InputError("lineage", "this is neither a DICOM file with a SOPInstanceUID nor a UID", do=do)
    return given


def _references(path: Path) -> list[str]:
    from claimed_med.dicom.deid_links import uids_of

    return sorted(set(uids_of(path.read_bytes())))
