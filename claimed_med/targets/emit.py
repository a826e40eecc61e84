"""Write YAML; see `claimed_med.emit`, which components use too."""

from __future__ import annotations

from claimed_med.emit import to_yaml

__all__ = ["to_yaml"]
