"""Import pictures of radiographs and a table as DICOM."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from claimed_med.component import Interval, Location, Unit, component
from claimed_med.handles import DicomCollection, Report, Table


class ImportXraysOutputs(NamedTuple):
    """What import_xrays returns."""

    images: DicomCollection
    labels: Table
    findings: Report


@component(
    version="1.0.0",
    tags=("ingest", "x-ray", "png", "jpeg", "cr", "dx"),
    example={"folder": "xrays", "table": "xrays"},
)
def import_xrays(
    *,
    folder: Annotated[str, Location()] = "",
    table: Annotated[str, Location()] = "",
    image_column: str = "image",
    patient_column: str = "patient_id",
    age_column: str = "age",
    sex_column: str = "sex",
    view_column: str = "view",
    label_columns: list[str] = ["label"],  # noqa: B006 - never changed
    sop_class: Literal["cr", "dx"] = "cr",
    spacing_mm: Annotated[float, Unit("mm"), Interval(0, 10)] = 0.0,
) -> ImportXraysOutputs:
    """Import pictures of radiographs and a table as DICOM.

    Every picture (PNG or JPEG, grey) becomes a Computed Radiography or Digital X-Ray object with patient, age, sex and
    view, in a study and series of its own; its UIDs follow from its bytes. Labels never go into the headers.
    Nothing is left out silently.

    Args:
        folder: Folder with the pictures, any tree; its content is digested, its name is never recorded.
        table: CSV file (or folder with one), one row a picture.
        image_column: Column with the file name.
        patient_column: Column with the patient's identifier.
        age_column: Column with the age in years; over 120 counts as missing.
        sex_column: Column with M or F.
        view_column: Column with PA, AP or L.
        label_columns: Columns that go into the labels table; no identifier of a patient.
        sop_class: cr, or dx, which needs the spacing.
        spacing_mm: Distance of pixels at the detector [mm]; 0 when it is not known.

    Returns:
        images: One object a picture.
        labels: sop_uid, series_uid, study_uid and the label columns.
        findings: Counts, and every picture that was left out by digest and reason.

    Raises:
        InputError: No picture, no such column, several rows for one picture, or dx without spacing.

    Source:
        DICOM PS3.3 A.2 (CR), A.26 (DX).
    """
    from pathlib import Path

    from claimed_med.dicom.picture_table import facts_of, pictures_below
    from claimed_med.dicom.xray import import_pictures
    from claimed_med.errors import InputError
    from claimed_med.handles import DicomSeries
    from claimed_med.units import key_of

    if not folder or not table:
        raise InputError("import-xrays", "no pictures or no table named", do="set --folder and --table")
    columns = {
        "image": image_column, "patient": patient_column, "age": age_column, "sex": sex_column, "view": view_column
    }  # fmt: skip
    rows = Table(Path(table)).load()
    facts, labels = facts_of(rows, columns, label_columns, spacing_mm)
    pictures = pictures_below(Path(folder))
    made, left = import_pictures(pictures, facts, sop_class)
    if not made:
        reasons = ", ".join(sorted(set(left.values())))
        raise InputError("import-xrays", "no picture could be imported", got=reasons or "no picture", do="see the table")
    series = []
    for dataset in made.values():
        one = DicomSeries([dataset])
        one.key = key_of([str(dataset.SOPInstanceUID)])
        series.append(one)
    images = DicomCollection(series)
    images.final = True
    uids = {"sop_uid": "SOPInstanceUID", "series_uid": "SeriesInstanceUID", "study_uid": "StudyInstanceUID"}
    kept = labels.loc[list(made)].reset_index(drop=True)
    for number, (column, keyword) in enumerate(uids.items()):
        kept.insert(number, column, [str(dataset.get(keyword)) for dataset in made.values()])
    report = {
        "kind": "import",
        "n_pictures": len(pictures),
        "n_rows": len(facts),
        "n_imported": len(made),
        "n_rows_without_picture": len(set(facts) - set(pictures)),
        "left_out": [{"file": name, "reason": left[name]} for name in sorted(left)],
    }
    return ImportXraysOutputs(images, Table(kept), Report(report))
