"""Make a cohort table of a collection and a table of labels."""

from __future__ import annotations

from typing import NamedTuple

from claimed_med.component import component
from claimed_med.handles import DicomCollection, Report, Table


class MakeCohortOutputs(NamedTuple):
    """What make_cohort returns."""

    cohort: Table
    findings: Report


@component(
    version="1.0.0",
    tags=("cohort", "table", "labels"),
    example={"images": "import-xrays:images", "labels": "import-xrays:labels"},
)
def make_cohort(
    images: DicomCollection,
    labels: Table,
    *,
    label_column: str = "label",
    columns: list[str] = [],  # noqa: B006 - never changed
) -> MakeCohortOutputs:
    """Make a cohort table of a collection and a table of labels.

    One row an image or volume: study_uid, series_uid, sop_uid, patient_key (HMAC of the PatientID), label, age,
    age_band, sex, view, modality, manufacturer, scanner, site (a pseudonym), split. Missing values stay a group of
    their own, `unknown`. No path and no identifier of a patient is in it.

    Args:
        images: Any collection; headers give all but the label.
        labels: Joined on its most exact column of sop_uid, series_uid, study_uid, patient_id.
        label_column: Column of `labels` with the truth; '' for none.
        columns: Further columns to take over, as `name` or `cohort_name=name`; they win over the headers.

    Returns:
        cohort: The table, sorted by sop_uid.
        findings: Counts by label and group, and how many rows of either side found no partner.

    Raises:
        InputError: No image, no column to join by, or a column that is not there.
    """
    from claimed_med.dicom import cohort as cohorts
    from claimed_med.errors import InputError

    described = cohorts.describe(images)
    if described.empty:
        raise InputError("make-cohort", "the collection holds no image", do="check what was imported")
    pairs = [one.partition("=") for one in columns]
    wanted = {name: source or name for name, _, source in pairs}
    if label_column:
        wanted["label"] = label_column
    joined, counts = cohorts.with_labels(described, labels.load(), wanted, "make-cohort")
    made = joined.drop(columns="patient_id")
    groups = ("label", "sex", "age_band", "view", "modality", "scanner", "site")
    told = {name: {str(key): int(n) for key, n in made[name].value_counts().sort_index().items()} for name in groups}
    report = {"kind": "cohort", "n_images": len(made), "n_patients": int(made["patient_key"].nunique()), **counts}
    return MakeCohortOutputs(Table(made), Report({**report, "groups": told}))
