"""Made CT volumes with a ball in each, their SEG objects and a cohort table: what a segmenter can learn."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import highdicom as hd
import numpy as np
import pandas as pd
from pydicom.sr.coding import Code

from claimed_med.dicom import seg
from claimed_med.dicom.codes import ARTIFICIAL_INTELLIGENCE, SegmentDefinition, SegmentTable
from claimed_med.dicom.cohort import describe
from claimed_med.dicom.uid import write
from claimed_med.handles import DicomCollection, DicomSeries, Table
from claimed_med.testing import phantoms

BALL = SegmentTable(
    "Ball",
    ARTIFICIAL_INTELLIGENCE,
    (
        SegmentDefinition(
            1, "Ball", Code("49755003", "SCT", "Morphologically Altered Structure"), Code("4147007", "SCT", "Mass")
        ),
    ),
)
N_VOLUMES = 5


def segmented_volumes(folder: Path) -> Path:
    """Write five CT volumes and a SEG of each."""
    for number in range(N_VOLUMES):
        generator = np.random.default_rng(number)
        shape = (16, 40, 40)
        middle = np.array([8, *generator.integers(12, 28, size=2)])
        place_mm = (np.indices(shape) - middle[:, None, None, None]) * np.array([2.0, 1.0, 1.0])[:, None, None, None]
        inside = (place_mm**2).sum(axis=0) < 8**2
        values = generator.normal(0, 20, shape) + np.where(inside, 150, -100)
        home = folder / f"patient{number}"
        phantoms.write_series(
            home,
            values.astype(np.int16),
            spacing_mm=(2.0, 1.0, 1.0),
            name=f"ball-{number}",
            attributes={"PatientID": f"{phantoms.PLANTED['PatientID']}-{number}"},
        )
        source = DicomSeries(home).load()
        grid = source.volume()
        labels = hd.Volume(
            inside.astype(np.uint8),
            grid.affine,
            coordinate_system="PATIENT",
            frame_of_reference_uid=grid.frame_of_reference_uid,
        )
        write(seg.encode(labels, source=source, segments=BALL), home / "truth.dcm")
    return folder


def segmented_cohort(folder: Path) -> Path:
    """Write the cohort table of `segmented_volumes`: three volumes to train on, one to validate, one to test."""
    with TemporaryDirectory() as images:
        table: pd.DataFrame = describe(DicomCollection(segmented_volumes(Path(images)))).drop(columns="patient_id")
    table["split"] = ["train", "train", "train", "validation", "test"]
    for name, content in Table(table).encode(table).items():
        (folder / name).write_bytes(content)
    return folder
