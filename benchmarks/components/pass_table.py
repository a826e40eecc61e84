"""The smallest useful task, for the benchmark of the engine."""

from __future__ import annotations

from typing import NamedTuple

from claimed_med.component import component
from claimed_med.handles import Report


class PassTableOutputs(NamedTuple):
    """What pass_table returns."""

    passed: Report


@component(version="1.0.0")
def pass_table(report: Report, *, step: int = 0) -> PassTableOutputs:
    """Read a report and write it with one more entry.

    Args:
        report: Any report.
        step: Number that is added.

    Returns:
        passed: The report with the number.
    """
    return PassTableOutputs(Report({**report.load(), f"step {step}": step}))
