"""Split a cohort into training, validation and test by patient."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from claimed_med.component import Interval, component
from claimed_med.handles import Report, Table


class SplitCohortOutputs(NamedTuple):
    """What split_cohort returns."""

    split: Table
    leakage: Report


@component(version="1.0.0", tags=("cohort", "split", "leakage"), example={"cohort": "make-cohort:cohort"})
def split_cohort(
    cohort: Table,
    *,
    train_fraction: Annotated[float, Interval(0.01, 0.99)] = 0.6,
    validation_fraction: Annotated[float, Interval(0.0, 0.9)] = 0.15,
    stratify: list[str] = ["label", "sex", "view"],  # noqa: B006 - never changed
    together: Literal["patient", "site"] = "patient",
    seed: Annotated[int, Interval(0, 2**31 - 1)] = 0,
) -> SplitCohortOutputs:
    """Split a cohort into training, validation and test by patient.

    All images of a patient (or of a site) go to one part; what is left over after training and validation is the
    test. Patients are dealt out so that every part has its share of each stratum. Then the split is checked anew, and
    a patient in two parts fails the run: the check also covers a `split` column that came from elsewhere.

    Args:
        cohort: A cohort table; a `split` column that is filled already is kept and only checked.
        train_fraction: Share of the rows.
        validation_fraction: Share of the rows.
        stratify: Columns whose values every part should have alike.
        together: What is never divided.
        seed: Another split for another seed.

    Returns:
        split: The cohort with its column `split`: train, validation or test.
        leakage: Patients (sites) in more than one part, which is none; counts of every part by label and stratum.

    Raises:
        InputError: A patient in two parts, one patient only, or a part without some class.
    """
    from claimed_med.dicom import cohort as cohorts
    from claimed_med.errors import ContractError, InputError
    from claimed_med.trust import split as splitting
    from claimed_med.trust.metric import Metric, rows

    key = f"{together}_key" if together == "patient" else together
    table = cohorts.check(cohort.load(), "split-cohort", "label", key, "split", *stratify).copy()
    test_fraction = round(1 - train_fraction - validation_fraction, 9)
    if test_fraction < 0:
        raise ContractError("split-cohort", "the fractions add up to more than 1", got=1 - test_fraction)
    fractions = {"train": train_fraction, "validation": validation_fraction, "test": test_fraction}
    parts = [name for name, share in fractions.items() if share > 0]
    if table[key].nunique() < len(parts):
        raise InputError(
            "split-cohort", f"too few {together}s to split", got=table[key].nunique(), allowed=f"at least {len(parts)}"
        )
    if (table["split"].fillna("") == "").all():
        shares = {name: fractions[name] for name in parts}
        table["split"] = splitting.assign(table, shares, stratify=stratify, together=key, seed=seed)
    leaking = {one: splitting.overlap(table, f"{one}_key") for one in ("patient",)}
    if together == "site":
        leaking["site"] = splitting.overlap(table, "site")
    if any(leaking.values()):
        told = ", ".join(f"{len(found)} {name}s" for name, found in leaking.items() if found)
        raise InputError("split-cohort", "the split leaks: the same are in more than one part", got=told)
    splitting.require_classes(table, sorted(set(table["split"])), "split-cohort")
    counts = {
        column: {
            part: {str(k): int(n) for k, n in table.loc[table["split"] == part, column].value_counts().items()}
            for part in parts
        }
        for column in dict.fromkeys(["label", *stratify])
    }
    metrics = [Metric(f"{name}_overlap", 0.0, n=int(table[f"{name}_key" if name == "patient" else name].nunique()))
               for name in leaking]  # fmt: skip
    sizes = {part: int((table["split"] == part).sum()) for part in parts}
    report = {"kind": "split", "metrics": rows(metrics), "n_images": sizes, "counts": counts}
    return SplitCohortOutputs(Table(table), Report(report))
