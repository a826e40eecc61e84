"""Send objects out: all of them, one result each, and nothing that was not let go."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

from claimed_med import lineage
from claimed_med.dicom.web import SKIPPED, Stored, require_all
from claimed_med.errors import InputError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from claimed_med.handle import Handle

_LISTS = {".json"}
DEIDENTIFY = "deidentify-dicom"


class Destination(Protocol):
    """Where objects go: an `Archive`, or a node of the DICOM network."""

    def store(self, paths: Sequence[Path]) -> list[Stored]:
        """Store objects; one result each."""
        ...


def store(destination: Destination, paths: Sequence[Path]) -> dict[str, Any]:
    """Store objects and account for each.

    Args:
        destination: Where.
        paths: Files; what is no DICOM object stays here and is listed as skipped.

    Returns:
        The receipt as JSON-ready values.

    Raises:
        InputError: There is no object.
        OutputError: Some were not stored; all others were sent.
        RefusedError: An object says that it is de-identified, and something was left in it; nothing was sent.
    """
    listed = [path for path in paths if path.suffix not in _LISTS]
    refuse_left(listed)
    results = destination.store(listed)
    objects = [one for one in results if one.status != SKIPPED]
    if not objects:
        raise InputError("store", "there is no object to store")
    require_all(results)
    counts = Counter(one.status for one in objects)
    return {
        "n_objects": len(objects),
        "skipped": sorted(one.sop_uid for one in results if one.status == SKIPPED),
        "counts": dict(sorted(counts.items())),
        "objects": [
            {"sop_uid": one.sop_uid, "status": one.status} for one in sorted(objects, key=lambda one: one.sop_uid)
        ],
    }


def refuse_undecided(objects: Handle) -> None:
    """Refuse objects that a de-identification made: they leave with a decision only.

    Raises:
        RefusedError: They are.
    """
    record = objects.record or (lineage.read(objects.path) if objects.path is not None else None)
    if record is not None and record.component == DEIDENTIFY:
        raise RefusedError(
            "store",
            "the objects are de-identified, and nobody has decided on them",
            do="use store-deidentified or send-deidentified",
        )


def refuse_left(paths: Sequence[Path]) -> None:
    """Refuse objects that say they were de-identified here, when anything is in them that the profile does not allow.

    Every way out asks this, whatever the objects came by: a file that was edited or swapped does not leave.

    Args:
        paths: Files; what is no DICOM object is left alone.

    Raises:
        RefusedError: Something was left; counted by attribute.
    """
    from claimed_med.dicom.deid_check import check
    from claimed_med.dicom.deid_profile import load, names

    by_profile: dict[str, list[Path]] = {}
    for path in paths:
        if (name := _profile_of(path)) in names():
            by_profile.setdefault(name, []).append(path)
    found = [one for name, files in by_profile.items() for one in check(files, load(name)).as_list()]
    if found:
        told = "; ".join(f"{one['attribute']} {one['what']} ({one['count']} times)" for one in found)
        raise RefusedError("store", f"something was left in de-identified objects: {told}", do="de-identify them again")


def _profile_of(path: Path) -> str:
    """Name of the profile with which an object says that it was de-identified here, or ''."""
    from claimed_med.dicom.deid_values import METHOD, METHOD_TAG
    from claimed_med.dicom.elements import elements, open_bytes

    try:
        stored = open_bytes(path.read_bytes())
        found = elements(stored.data, stored.start, len(stored.data), stored.encoding, before_pixels=True)
        told = [stored.data[one.value : one.end] for one in found if one.tag == METHOD_TAG]
    except InputError:
        return ""
    text = told[0].decode("latin-1").strip(" \0") if told else ""
    return text.removeprefix(METHOD) if text.startswith(METHOD) else ""
