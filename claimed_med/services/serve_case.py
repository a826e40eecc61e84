"""What the record of predictions says of a volume besides the answer: attributes, numbers, figures. Pseudonyms only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claimed_med.dicom import cohort
from claimed_med.dicom.header import UNREADABLE, whole
from claimed_med.dicom.scan import VolumeEntry
from claimed_med.handles import DicomCollection, DicomSeries
from claimed_med.prediction_log import OLDEST_TOLD
from claimed_med.services.serve_model import Served

_NUMBERS = tuple(
    """
    SliceThickness KVP MagneticFieldStrength WindowCenter WindowWidth RescaleSlope RescaleIntercept
    """.split()
)


def described(entry: VolumeEntry) -> dict[str, Any]:
    """UIDs, pseudonym and cohort attributes of a volume, as in cohort tables."""
    series = DicomSeries(None)
    series.object = entry.series
    table = cohort.tidy(cohort.describe(DicomCollection([series])).drop(columns="patient_id"))
    row: dict[str, Any] = table.to_dict("records")[0]
    return row


def features(row: Mapping[str, Any], entry: VolumeEntry, noted: Mapping[str, float]) -> dict[str, float]:
    """Numbers of the header and of the pixels (`noted`), for drift."""
    header = entry.series.headers[0]
    told = {
        "rows": float(whole(header, "Rows", 0) or 0),
        "columns": float(whole(header, "Columns", 0) or 0),
        "n_files": float(len(entry.files)),
        "bits_stored": float(whole(header, "BitsStored", 0) or 0),
        **noted,
    }
    for keyword in _NUMBERS:
        value = _number(header, keyword)
        if value is not None:
            told[keyword] = value
    age = float(row["age"])
    if age == age:  # noqa: PLR0124 - NaN where the header does not tell
        told["age"] = float(min(OLDEST_TOLD, int(age)))
    return told


def _number(header: Any, keyword: str) -> float | None:
    try:
        value = header.get(keyword)
        return float(value[0] if hasattr(value, "__getitem__") and not isinstance(value, str) else value)
    except UNREADABLE:
        return None


def figures(served: Served, outputs: Any, made: Any) -> dict[str, Any]:
    """What the component said of a volume, as in the record of predictions."""
    bundle = served.bundle
    if bundle.task == "classification":
        row = outputs.predictions.load().iloc[0]
        return {
            "positive": bundle.positive,
            "score": float(row["score"]),
            "decision": str(row["predicted"]),
            "threshold": float(row["threshold"]),
            "probabilities": {name: float(row[f"probability_{name}"]) for name in bundle.classes},
        }
    from claimed_med.dicom import seg

    volumes, share = {}, 0.0
    for one in seg.decode(made.load()):
        n_voxels = float((one.mask.array > 0).sum())
        volumes[one.label] = n_voxels * float(one.mask.voxel_volume) / 1000.0
        share += n_voxels / one.mask.array.size
    found = ",".join(name for name, volume in volumes.items() if volume)
    return {"score": share, "decision": found, "probabilities": volumes}
