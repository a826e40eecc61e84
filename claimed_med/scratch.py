"""Folders beside the outputs: one that outlives a kill, one that lives as long as a handle. Standard library only."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path

from claimed_med.component import current, current_identity

ENVIRONMENT = "CLAIMED_MED_SCRATCH"


def folder() -> Path | None:
    """The folder of exactly this run: the same component, settings and inputs find it again; None outside of a run.

    It lies below CLAIMED_MED_SCRATCH (a volume that outlives the container, on a cluster), else in the user's cache.
    """
    contract, identity = current(), current_identity()
    if contract is None or not identity:
        return None
    given = os.environ.get(ENVIRONMENT, "")
    cache = os.environ.get("XDG_CACHE_HOME", "") or Path.home() / ".cache"
    root = Path(given) if given else Path(cache) / "claimed_med" / "scratch"
    return root / f"{contract.name}-{identity[:16]}"


def temporary() -> Path:
    """A new folder for files that a component makes one by one; see `remove_with`."""
    return Path(tempfile.mkdtemp(prefix="claimed-med-"))


def remove_with(handle: object, place: Path) -> None:
    """Remove a folder when the handle on its files is gone, at the latest when this process ends."""
    weakref.finalize(handle, shutil.rmtree, place, ignore_errors=True)
