"""Cohort tables: one row an image or volume, from headers and a joined table. Keyed by UID, never by path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from claimed_med import secret
from claimed_med.dicom.header import text
from claimed_med.dicom.rules import parse
from claimed_med.errors import InputError
from claimed_med.handles import DicomCollection, DicomSeries

if TYPE_CHECKING:
    from claimed_med.dicom.classification import Classification
    from claimed_med.dicom.series import Series

UNKNOWN = "unknown"
KEYS = ("study_uid", "series_uid", "sop_uid", "patient_key")
COLUMNS = (
    *KEYS,
    "label",
    "age",
    "age_band",
    "sex",
    "view",
    "modality",
    "manufacturer",
    "scanner",
    "site",
    "split",
)
# columns of joined tables by which rows find their images, the most exact first
JOINED_BY = ("sop_uid", "series_uid", "study_uid", "patient_id")
_BANDS = ((20, "0-19"), (40, "20-39"), (60, "40-59"), (80, "60-79"), (121, "80+"))
_YEARS = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}
OLDEST = 120


@dataclass(frozen=True)
class Sample:
    """One row of a cohort with its images.

    Attributes:
        row: Column -> value.
        series: The image or volume.
    """

    row: Mapping[str, Any]
    series: DicomSeries


@dataclass(frozen=True)
class Joined:
    """A cohort table joined with its images.

    Attributes:
        samples: Sorted by SOPInstanceUID, so that the order depends on nothing else.
        missing: `images_without_row` and `rows_without_image`.
    """

    samples: list[Sample]
    missing: Mapping[str, int] = field(default_factory=dict)


def describe(images: DicomCollection) -> pd.DataFrame:
    """One row an image or volume, from the headers; the label is unknown.

    Args:
        images: Any collection.

    Returns:
        The columns of a cohort table, and `patient_id` for joining, which must be dropped before the table is written.
    """
    rows = [_row(series.load()) for series in images.series()]
    return pd.DataFrame(rows, columns=[*COLUMNS, "patient_id"]).sort_values("sop_uid", ignore_index=True)


def with_labels(
    cohort: pd.DataFrame, table: pd.DataFrame, columns: Mapping[str, str], where: str
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Join labels and other columns of a table.

    Args:
        cohort: From `describe`.
        table: With a column of `JOINED_BY`.
        columns: Column of the cohort -> column of the table; a value that is missing leaves what the header said.
        where: The component that speaks.

    Returns:
        The cohort, and how many rows of either side found no partner.

    Raises:
        InputError: No column to join by, a column that is not there, or two rows for one image.
    """
    key = next((name for name in JOINED_BY if name in table.columns), "")
    if not key:
        raise InputError(where, "the table has no column to join by", allowed=", ".join(JOINED_BY))
    absent = sorted(set(columns.values()) - set(table.columns))
    if absent:
        raise InputError(
            where, "the table has no such column", got=", ".join(absent), allowed=", ".join(map(str, table.columns))
        )
    keys = table[key].astype(str)
    if keys.duplicated().any():
        raise InputError(where, f"the table has several rows for one {key}", got=f"{int(keys.duplicated().sum())} rows")
    found = cohort[key].astype(str).isin(set(keys))
    counts = {
        "images_without_row": int((~found).sum()),
        "rows_without_image": int((~keys.isin(set(cohort[key].astype(str)))).sum()),
    }
    made = cohort.copy()
    for column, name in columns.items():
        given = made[key].astype(str).map(dict(zip(keys, table[name], strict=True)))
        made[column] = given.where(given.notna() & (given.astype(str) != ""), made[column])
    return tidy(made), counts


def tidy(cohort: pd.DataFrame) -> pd.DataFrame:
    """Give every column its one form: texts, `unknown` for what is missing, age in years with its band."""
    made = cohort.copy()
    made["age"] = pd.to_numeric(made["age"], errors="coerce")
    made["age"] = made["age"].where((made["age"] >= 0) & (made["age"] <= OLDEST))
    made["age_band"] = [band_of(one) for one in made["age"]]
    for name in made.columns:
        if name not in {"age", "split"} and made[name].dtype.kind not in "fi":
            made[name] = made[name].fillna("").astype(str).replace("", UNKNOWN)
    made["label"] = made["label"].astype(str)
    made["sex"] = made["sex"].where(made["sex"].isin(["F", "M", "O"]), UNKNOWN)
    return made


def band_of(age: float) -> str:
    """The age band of an age in years; `unknown` for NaN."""
    return next((name for limit, name in _BANDS if age < limit), UNKNOWN)


def describe_one(series: Series, found: Classification) -> pd.DataFrame:
    """The row of a predictions table.

    Args:
        series: The image or volume.
        found: What the model said of it.
    """
    row = _row(series)
    told = {name: row[name] for name in KEYS}
    told |= {
        "score": found.probabilities[found.positive],
        "predicted": found.predicted,
        "threshold": found.threshold,
        "positive": found.positive,
        "model_digest": found.model,
    }
    return pd.DataFrame([told | {f"probability_{name}": value for name, value in found.probabilities.items()}])


def check(cohort: pd.DataFrame, where: str, *needed: str) -> pd.DataFrame:
    """Refuse a table that is no cohort.

    Raises:
        InputError: A column is missing, or an image is listed twice.
    """
    absent = [name for name in ("sop_uid", *needed) if name not in cohort.columns]
    if absent:
        raise InputError(
            where, "the table is no cohort", got=f"no column {', '.join(absent)}", do="make it with make-cohort"
        )
    if cohort["sop_uid"].duplicated().any():
        raise InputError(where, "the cohort lists an image twice", got=int(cohort["sop_uid"].duplicated().sum()))
    return cohort


def join(cohort: pd.DataFrame, images: DicomCollection) -> Joined:
    """Join a cohort table with its images on SOPInstanceUID; a volume is found by any of its instances.

    Args:
        cohort: With `sop_uid`.
        images: Any collection.
    """
    owner: dict[str, DicomSeries] = {}
    found = images.series()
    for series in found:
        for uid in _uids(series):
            owner[uid] = series
    rows = sorted(cohort.to_dict("records"), key=lambda row: str(row["sop_uid"]))
    samples = [Sample(row, owner[str(row["sop_uid"])]) for row in rows if str(row["sop_uid"]) in owner]
    used = {id(sample.series) for sample in samples}
    missing = {
        "rows_without_image": len(rows) - len(samples),
        "images_without_row": sum(id(series) not in used for series in found),
    }
    return Joined(samples, missing)


def pixels(series: DicomSeries) -> tuple[npt.NDArray[np.float32], tuple[float, ...]]:
    """The pixels of an image or volume, in real units.

    Args:
        series: One image (radiograph) or one volume.

    Returns:
        float32 of shape (row, column) for one planar image, else (slice, row, column); spacing [mm], one an axis.

    Raises:
        InputError: No pixels, or a volume whose geometry is not sound.
    """
    loaded = series.load()
    if is_planar(loaded):
        from claimed_med.dicom.xray import planar_pixels

        return planar_pixels(loaded)
    volume = loaded.volume()
    return np.asarray(volume.array, dtype=np.float32), tuple(float(one) for one in volume.spacing)


def is_planar(series: Series) -> bool:
    """Whether it is one image without a place in space: a radiograph, an ultrasound still, a photograph."""
    return len(series.slices) == 1 and series.affine is None


def planar_spacing(series: Series) -> tuple[float, float]:
    """Spacing of rows and columns of a planar image [mm]; 1 where the header does not tell."""
    from claimed_med.dicom.xray import spacing_of

    return spacing_of(series.headers[0])


def filtered(cohort: pd.DataFrame, rule: str, where: str) -> tuple[pd.DataFrame, list[str]]:
    """The rows that fulfil a rule on columns, and why each other does not.

    Args:
        cohort: The table.
        rule: As in `claimed_med.dicom.rules`, with columns in place of keywords.
        where: The component that speaks.

    Raises:
        ContractError: The rule cannot be read, or names a column that is not there.
    """
    wanted = parse(rule, columns=tuple(map(str, cohort.columns)), where=where)
    kept, reasons = [], []
    for number, row in enumerate(cohort.to_dict("records")):
        why_not = wanted.why_not(Row(row))
        if not why_not:
            kept.append(number)
        reasons += [re.sub(r"; it is .*", "", one) for one in why_not]
    return cohort.iloc[kept].reset_index(drop=True), reasons


class Row:
    """A row of a table, read as rules read a header."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.row = row

    def value(self, name: str) -> str:
        """The value of a column as text; '' when it is missing."""
        found = self.row.get(name)
        missing = found is None or (isinstance(found, float) and np.isnan(found))
        return "" if missing else str(found)


def _uids(series: DicomSeries) -> list[str]:
    loaded = series.load()
    return [instance.sop_uid for instance in loaded.instances]


def _row(series: Series) -> dict[str, Any]:
    header = series.headers[0]
    maker, model = text(header, "Manufacturer"), text(header, "ManufacturerModelName")
    institution = text(header, "InstitutionName")
    patient = text(header, "PatientID")
    return {
        "study_uid": text(header, "StudyInstanceUID"),
        "series_uid": text(header, "SeriesInstanceUID"),
        "sop_uid": min(instance.sop_uid for instance in series.instances),
        "patient_key": secret.pseudonym("patient", patient or text(header, "StudyInstanceUID")),
        "patient_id": patient,
        "label": UNKNOWN,
        "age": _age(header),
        "age_band": UNKNOWN,
        "sex": text(header, "PatientSex") or UNKNOWN,
        "view": text(header, "ViewPosition") or UNKNOWN,
        "modality": series.modality or UNKNOWN,
        "manufacturer": maker or UNKNOWN,
        "scanner": " ".join(one for one in (maker, model) if one) or UNKNOWN,
        "site": f"site-{secret.pseudonym('site', institution)[:6]}" if institution else UNKNOWN,
        "split": "",
    }


def _age(header: Any) -> float:
    told = re.fullmatch(r"(\d{3})([DWMY])", text(header, "PatientAge").strip())
    if told:
        return int(told[1]) / _YEARS[told[2]]
    birth, study = text(header, "PatientBirthDate"), text(header, "StudyDate")
    if re.fullmatch(r"\d{8}", birth) and re.fullmatch(r"\d{8}", study):
        days = pd.Timestamp(study) - pd.Timestamp(birth)
        return float(days.days / 365.25)
    return float("nan")
