"""A table of an archive's headers: one row a file, in chunks, so that its size does not matter.

The rows are the same and in the same order (that of the relative names) whether they are read by a pool of this machine
or by Spark. No name of a file and no identifier of a patient is in it.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from claimed_med import secret, spark
from claimed_med.dicom.header import NotReadable, number, open_instance, quiet, text, whole
from claimed_med.errors import InputError
from claimed_med.payload import files_below
from claimed_med.workers import WorkerDied, map_tasks, n_cores

Read = tuple[list[dict[str, Any]], dict[str, int]]  # rows, and files left out by reason
CHUNK = 500  # files that one call reads, and rows of one row group
UNKNOWN = "unknown"
_GRAIN = {"year": 4, "month": 6, "day": 8}
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("sop_uid", "sop_class_uid", "series_uid", "study_uid", "patient_key")),
        *((name, pa.string()) for name in ("modality", "manufacturer", "scanner", "site", "body_part", "study_time")),
        *((name, pa.int32()) for name in ("rows", "columns", "n_frames")),
        *((name, pa.float64()) for name in ("slice_thickness_mm", "kvp", "dose_mgy", "field_strength_t")),
        ("transfer_syntax_uid", pa.string()),
        ("n_bytes", pa.int64()),
    ]
)


@dataclasses.dataclass(frozen=True)
class Reader:
    """Reads headers of files; picklable.

    Attributes:
        grain: How exact study times are: year, month, day.
        key: The project's secret, from which patient keys follow, for processes of other machines.
    """

    grain: str
    key: bytes

    def __call__(self, paths: tuple[str, ...]) -> Read:
        """Rows of the files that are DICOM, and how many were left out for which reason."""
        found, left_out = [], Counter[str]()
        with quiet():
            for path in paths:
                try:
                    found.append(self._row(Path(path)))
                except NotReadable as error:
                    left_out[error.finding.name] += 1
        return found, dict(left_out)

    def _row(self, path: Path) -> dict[str, Any]:
        instance = open_instance(path)
        one = instance.dataset
        site, patient = text(one, "InstitutionName"), text(one, "PatientID")
        maker, model = text(one, "Manufacturer"), text(one, "ManufacturerModelName")
        return {
            "sop_uid": text(one, "SOPInstanceUID"),
            "sop_class_uid": text(one, "SOPClassUID"),
            "series_uid": text(one, "SeriesInstanceUID"),
            "study_uid": text(one, "StudyInstanceUID"),
            "patient_key": secret.pseudonym("patient", patient or text(one, "StudyInstanceUID"), self.key),
            "modality": text(one, "Modality") or UNKNOWN,
            "manufacturer": maker or UNKNOWN,
            "scanner": " ".join(name for name in (maker, model) if name) or UNKNOWN,
            "site": f"site-{secret.pseudonym('site', site, self.key)[:6]}" if site else UNKNOWN,
            "body_part": text(one, "BodyPartExamined").lower(),
            "study_time": _time(text(one, "StudyDate"), self.grain),
            "rows": whole(one, "Rows"),
            "columns": whole(one, "Columns"),
            "n_frames": whole(one, "NumberOfFrames", 1),
            "slice_thickness_mm": number(one, "SliceThickness"),
            "kvp": number(one, "KVP"),
            "dose_mgy": number(one, "CTDIvol"),
            "field_strength_t": number(one, "MagneticFieldStrength"),
            "transfer_syntax_uid": str(instance.syntax),
            "n_bytes": instance.file_size,
        }


def write(source: Path, target: Path, *, grain: str, engine: str) -> dict[str, Any]:
    """Read all headers below a folder into one Parquet file; what was counted.

    Args:
        source: The archive.
        target: The file.
        grain: How exact study times are: year, month, day.
        engine: local or spark.

    Raises:
        InputError: There is no DICOM file.
    """
    paths = [str(path) for path in files_below(source).values()]
    chunks = [tuple(paths[start : start + CHUNK]) for start in range(0, len(paths), CHUNK)]
    reader = Reader(grain, secret.secret())
    made = _by_spark(reader, chunks) if engine == "spark" else _by_pool(reader, chunks)
    n_rows, left_out = 0, Counter[str]()
    counts: dict[str, Counter[str]] = {"modality": Counter(), "scanner": Counter(), "site": Counter()}
    with pq.ParquetWriter(target, SCHEMA) as writer:
        for rows, skipped in made:
            left_out.update(skipped)
            n_rows += len(rows)
            for name, count in counts.items():
                count.update(row[name] for row in rows)
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, SCHEMA), row_group_size=CHUNK)
    if not n_rows:
        raise InputError("catalog-archive", "there is no DICOM file", do="check --path")
    told = {name: dict(sorted(count.items())) for name, count in counts.items()}
    return {"kind": "catalog", "n_files": len(paths), "n_rows": n_rows, "left_out": dict(sorted(left_out.items()))} | {
        "counts": told
    }


def _by_pool(reader: Reader, chunks: list[tuple[str, ...]]) -> Iterator[Read]:
    if len(chunks) == 1:
        yield reader(chunks[0])
        return
    waiting: dict[int, Any] = {}
    following = 0
    for index, result in map_tasks(reader, chunks, n_workers=n_cores(), n_threads=1, fork=True):
        if isinstance(result, WorkerDied):
            raise InputError(
                "catalog-archive", "a process that read headers was killed", got=result.signal or "no answer"
            )
        waiting[index] = result
        while following in waiting:
            yield waiting.pop(following)
            following += 1


def _by_spark(reader: Reader, chunks: list[tuple[str, ...]]) -> Iterator[Read]:
    with spark.session("claimed-med catalog-archive") as session:
        yield from session.sparkContext.parallelize(chunks, len(chunks) or 1).map(reader).toLocalIterator()


def _time(date: str, grain: str) -> str:
    digits = date.replace(".", "")[: _GRAIN[grain]]
    if not digits.isdecimal() or len(digits) != _GRAIN[grain]:
        return ""
    return "-".join(part for part in (digits[:4], digits[4:6], digits[6:]) if part)
