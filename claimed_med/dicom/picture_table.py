"""The table that comes with a folder of pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from claimed_med.dicom.xray import Facts
from claimed_med.errors import InputError
from claimed_med.payload import files_below

SUFFIXES = (".png", ".jpg", ".jpeg")
IDENTIFYING = frozenset({"patient_id", "patient", "patientid", "patient id", "name", "mrn"})


def pictures_below(folder: Path) -> dict[str, bytes]:
    """File name -> content of every picture below a folder.

    Raises:
        InputError: Two pictures have the same name.
    """
    found: dict[str, bytes] = {}
    for name, path in files_below(folder).items():
        if path.suffix.lower() in SUFFIXES:
            if path.name in found:
                raise InputError(
                    "import-xrays", "two pictures have the same file name", do="import their folders apart"
                )
            found[Path(name).name] = path.read_bytes()
    return found


def facts_of(
    rows: pd.DataFrame, columns: Mapping[str, str], label_columns: Sequence[str], spacing_mm: float
) -> tuple[dict[str, Facts], pd.DataFrame]:
    """What the table says of every picture, and its label columns.

    Args:
        rows: The table.
        columns: What (image, patient, age, sex, view) -> column; '' where there is none.
        label_columns: Columns to keep beside.
        spacing_mm: Of all pictures; 0 when unknown.

    Returns:
        File name -> facts; label columns, indexed by file name.

    Raises:
        InputError: A column that is not there, or one that identifies patients, or several rows for one picture.
    """
    wanted = [name for name in (*columns.values(), *label_columns) if name]
    absent = sorted(set(wanted) - set(rows.columns))
    if absent:
        raise InputError(
            "import-xrays",
            "the table has no such column",
            got=", ".join(absent),
            allowed=", ".join(map(str, rows.columns)),
        )
    telling = sorted({name for name in label_columns if name.lower() in IDENTIFYING or name == columns["patient"]})
    if telling:
        raise InputError(
            "import-xrays", "a label column identifies patients", got=", ".join(telling), do="leave it out"
        )
    names = rows[columns["image"]].astype(str)
    if names.duplicated().any():
        raise InputError("import-xrays", "several rows name one picture", got=f"{int(names.duplicated().sum())} rows")
    facts = {
        str(row[columns["image"]]): Facts(
            _text(row, columns["patient"]),
            _number(row, columns["age"]),
            _text(row, columns["sex"]),
            _text(row, columns["view"]),
            spacing_mm,
        )
        for row in rows.to_dict("records")
    }
    labels = rows[list(label_columns)].copy()
    labels.index = pd.Index(names)
    return facts, labels


def _text(row: Mapping[Any, Any], column: str) -> str:
    value = row.get(column)
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # pandas reads whole numbers beside gaps as floats
    return "" if missing else str(value)


def _number(row: Mapping[Any, Any], column: str) -> float:
    digits = _text(row, column).strip().upper().removesuffix("Y")
    try:
        return float(digits)
    except ValueError:
        return math.nan
