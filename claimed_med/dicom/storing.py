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
    """
    results = destination.store([path for path in paths if path.suffix not in _LISTS])
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
