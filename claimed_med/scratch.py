"""A folder in which a long run keeps what lets it go on after a kill. Standard library only."""

from __future__ import annotations

import os
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
