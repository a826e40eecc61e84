"""Keep the rows of a cohort that fulfil a rule."""

from __future__ import annotations

from typing import NamedTuple

from claimed_med.component import component
from claimed_med.handles import Report, Table


class FilterCohortOutputs(NamedTuple):
    """What filter_cohort returns."""

    kept: Table
    findings: Report


@component(
    version="1.0.0",
    tags=("cohort", "rule"),
    example={"cohort": "make-cohort:cohort", "rule": 'view in {"PA", "AP"} and not age < 18'},
)
def filter_cohort(cohort: Table, *, rule: str = "") -> FilterCohortOutputs:
    """Keep the rows of a cohort that fulfil a rule.

    A rule compares columns: `age >= 18 and view == "PA" and not sex == "unknown"`; signs are == != < <= > >=,
    `in [low, high]`, `in {"a", "b"}`, `~ "regular expression"`, `exists`. Nothing is ever evaluated as code.

    Args:
        cohort: Any table.
        rule: The rule; empty keeps every row.

    Returns:
        kept: The rows that fulfil it, in their order.
        findings: Counts, and every reason with how often it left a row out.

    Raises:
        ContractError: The rule cannot be read; the place is named.
        InputError: No row is left.
    """
    from collections import Counter

    from claimed_med.dicom.cohort import filtered
    from claimed_med.errors import InputError

    table = cohort.load()
    kept, reasons = filtered(table, rule, "filter-cohort")
    if kept.empty:
        raise InputError("filter-cohort", "no row fulfils the rule", got=f"{len(table)} rows", do="make the rule wider")
    told = {"kind": "cohort", "rule": rule, "n_rows": len(table), "n_kept": len(kept)}
    return FilterCohortOutputs(Table(kept), Report({**told, "left_out": dict(sorted(Counter(reasons).items()))}))
