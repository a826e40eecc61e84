from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import claimed_med as cm
from claimed_med.dicom.cohort import pixels
from claimed_med.dicom.validate import errors, validate_all
from claimed_med.dicom.xray import read_picture
from claimed_med.errors import InputError
from claimed_med.testing import xrays


@pytest.fixture
def source(tmp_path):
    return xrays.xrays(tmp_path / "made", n_patients=6)


def imported(source, **options):
    return cm.import_xrays(folder=str(source / "images"), table=str(source / "labels.csv"), **options)


@pytest.mark.parametrize(("sop_class", "spacing_mm"), [("cr", 0.0), ("cr", 0.2), ("dx", 0.143)])
def test_objects_are_valid(source, sop_class, spacing_mm):
    made = imported(source, sop_class=sop_class, spacing_mm=spacing_mm)
    datasets = [one for series in made.images.series() for one in series.datasets()]
    assert len(datasets) == len(list((source / "images").iterdir()))
    assert [problem.text for found in validate_all(datasets[:3]) for problem in errors(found)] == []


def test_pixels_and_facts_are_those_of_picture_and_table(source):
    made = imported(source, spacing_mm=0.2)
    table = pd.read_csv(source / "labels.csv").sort_values("image", ignore_index=True)
    for row, series in zip(table.to_dict("records"), made.images.series(), strict=True):
        dataset = series.datasets()[0]
        with Image.open(source / "images" / row["image"]) as opened:
            assert (pixels(series)[0] == np.asarray(opened)).all()
        assert (dataset.PatientID, dataset.PatientSex, dataset.ViewPosition) == (row["patient_id"], row["sex"], row["view"])
        assert dataset.PatientAge == f"{row['age']:03d}Y"
        assert pixels(series)[1] == (0.2, 0.2)
        assert row["label"] not in str(dataset)


def test_labels_belong_to_their_images(source):
    made = imported(source)
    table = pd.read_csv(source / "labels.csv").sort_values("image", ignore_index=True)
    uids = [str(series.datasets()[0].SOPInstanceUID) for series in made.images.series()]
    assert list(made.labels.load()["sop_uid"]) == uids
    assert list(made.labels.load()["label"]) == list(table["label"])
    assert not set(made.labels.load().columns) & {"patient_id", "image"}


def test_the_same_picture_has_the_same_uids_wherever_it_lies(source, tmp_path):
    shutil.copytree(source, tmp_path / "elsewhere")
    first, again = (imported(place).labels.load()["sop_uid"] for place in (source, tmp_path / "elsewhere"))
    assert list(first) == list(again)


def test_nothing_is_left_out_silently(source):
    names = sorted(path.name for path in (source / "images").iterdir())
    shutil.copyfile(source / "images" / names[0], source / "images" / "copy.png")
    (source / "images" / names[1]).write_bytes(b"no picture")
    Image.new("RGB", (8, 8), (255, 0, 0)).save(source / "images" / names[2])
    Image.new("L", (8, 8)).save(source / "images" / "unknown.png")
    told = imported(source).findings.load()
    reasons = sorted(one["reason"] for one in told["left_out"])
    assert told["n_imported"] == len(names) - 2
    assert len(reasons) == 4
    assert [reason for reason in reasons if "colour" in reason]
    assert not [one for one in told["left_out"] if "png" in str(one)]


def test_sixteen_bits_stay(tmp_path):
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    Image.fromarray(values).save(tmp_path / "deep.png")
    assert (read_picture((tmp_path / "deep.png").read_bytes()) == values).all()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"label_columns": ["diagnosis"]}, "no such column"),
        ({"label_columns": ["patient_id"]}, "identifies patients"),
        ({"sop_class": "dx"}, "spacing"),
    ],
)
def test_what_cannot_be_imported_is_said(source, options, told):
    with pytest.raises(InputError, match=told):
        imported(source, **options)


def test_two_rows_for_one_picture_are_refused(source):
    table = pd.read_csv(source / "labels.csv")
    pd.concat([table, table.head(1)]).to_csv(source / "labels.csv", index=False)
    with pytest.raises(InputError, match="several rows"):
        imported(source)


def test_impossible_ages_are_missing(source):
    table = pd.read_csv(source / "labels.csv").assign(age=412)
    table.to_csv(source / "labels.csv", index=False)
    made = imported(source)
    assert all("PatientAge" not in series.datasets()[0] for series in made.images.series())
    assert set(cm.make_cohort(made.images, made.labels).cohort.load()["age_band"]) == {"unknown"}


def test_all_real_radiographs_become_valid_objects(data):
    source = data / "cxr_nih"
    made = cm.import_xrays(folder=str(source / "images"), table=str(source / "labels.csv"))
    datasets = [one for series in made.images.series() for one in series.datasets()]
    assert len(datasets) == 340
    assert [problem.text for found in validate_all(datasets[::20]) for problem in errors(found)] == []
