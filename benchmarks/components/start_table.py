"""Where the chain of the benchmark starts."""

from __future__ import annotations

from claimed_med.component import component
from claimed_med.handles import Report


@component(version="1.0.0")
def start_table(*, seed: int = 0) -> Report:
    """Make a report.

    Args:
        seed: Its only entry.

    Returns:
        started: The report.
    """
    return Report({"seed": seed})
