"""Folders beside the outputs: one that outlives a kill, one that lives as long as a handle. Standard library only."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from claimed_med.component import current, current_identity
from claimed_med.secret import keyed_hash

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@contextmanager
def landing(name: str) -> Iterator[Path]:
    """A folder to fetch into, found again by the same run after a kill; another run at the same time gets its own.

    Args:
        name: What is fetched from where; only its keyed hash is written.
    """
    run = folder()
    if run is None:
        yield temporary()
        return
    place = run.with_name(f"{run.name}-{keyed_hash('landing', name)[:16]}")
    place.mkdir(parents=True, exist_ok=True)
    with place.with_name(f"{place.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            place = temporary()
        yield place


def taken_from(place: Path) -> Path:
    """Rename a landing folder that is complete, so that no later run writes into it; its new path."""
    target = Path(tempfile.mkdtemp(prefix="taken-", dir=place.parent))
    return place.rename(target / "objects").parent
