"""Where two files first differ, in the words of their format."""

from __future__ import annotations

import hashlib
import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydicom import dcmread
from safetensors.numpy import save_file

from claimed_med.payload import digest_files, files_below
from claimed_med.provenance.compare import DIFFERENT, EQUAL, compare, compare_value
from claimed_med.provenance.contents import difference
from claimed_med.testing import phantoms

EMPTY = hashlib.sha256(b"{}").hexdigest()


@pytest.fixture
def pair(tmp_path):
    """Two copies of a CT image: (folder, change) -> their paths, the second one changed."""
    phantoms.write("chest_ct", tmp_path / "ct")
    source = max((tmp_path / "ct").rglob("*"))

    def make(change):
        other = tmp_path / "new.dcm"
        dataset = dcmread(source)
        change(dataset)
        dataset.save_as(other)
        old = tmp_path / "old.dcm"
        old.write_bytes(source.read_bytes())
        return old, other

    return make


def poke(dataset, amount=3):
    pixels = dataset.pixel_array.copy()
    pixels[4, 5] += amount
    pixels[6, 1] += amount
    dataset.PixelData = pixels.tobytes()


def test_the_first_voxel_and_how_many(pair):
    told = difference(*pair(poke), 0)
    assert "(row, column) (4, 5)" in told
    assert "2 of" in told
    assert "by at most 3" in told


def test_voxels_within_the_tolerance_are_equal(pair):
    assert difference(*pair(poke), 3.0) == 3.0


def test_the_first_attribute_by_name(pair):
    told = difference(*pair(lambda one: setattr(one, "SliceThickness", 9.5)), 0)
    assert "SliceThickness (0018,0050)" in told
    assert "9.5" in told


def test_the_value_of_an_attribute_that_may_name_a_patient_is_withheld(pair):
    told = difference(*pair(lambda one: setattr(one, "PatientName", "DOE^JANE")), 0)
    assert "PatientName" in told
    assert "DOE" not in told
    assert "PLANTED" not in told


def test_an_attribute_that_is_gone(pair):
    assert difference(*pair(lambda one: delattr(one, "SliceThickness")), 0) == "the attribute SliceThickness is gone"


def test_uids_that_follow_from_the_content_are_named_last(pair):
    def change(dataset):
        dataset.SOPInstanceUID = "2.25.77"
        poke(dataset)

    assert "voxel" in difference(*pair(change), 0)


def test_fields_of_reports(tmp_path):
    old, new = tmp_path / "a.json", tmp_path / "b.json"
    old.write_text(json.dumps({"x": [1, {"y": 2.0}], "subject": "ab" * 32}))
    new.write_text(json.dumps({"x": [1, {"y": 2.5}], "subject": "cd" * 32}))
    assert difference(old, new, 0) == "x[1].y: 2.0 became 2.5"
    assert difference(old, new, 0.5) == 0.5
    new.write_text(json.dumps({"x": [1, {"y": 2.0}], "subject": "cd" * 32}))
    assert "subject" in difference(old, new, 0)


def test_cells_of_tables_are_named_and_not_shown(tmp_path):
    old, new = tmp_path / "a.parquet", tmp_path / "b.parquet"
    pd.DataFrame({"name": ["DOE", "ROE"], "n": [1.0, None]}).to_parquet(old)
    pd.DataFrame({"name": ["DOE", "POE"], "n": [1.0, None]}).to_parquet(new)
    told = difference(old, new, 0)
    assert told == "the first differing cell is column name, row 1"


def test_weights(tmp_path):
    old, new = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    weights = {"conv.weight": np.zeros((2, 3), np.float32), "bias": np.ones(2, np.float32)}
    save_file(weights, old)
    weights["conv.weight"][1, 2] = 1e-6
    save_file(weights, new)
    assert "tensor conv.weight) (1, 2)" in difference(old, new, 0)
    assert difference(old, new, 1e-5) == pytest.approx(1e-6)


def test_volumes_and_pictures(tmp_path):
    for name, value in (("a", 0.0), ("b", 2.0)):
        volume = np.zeros((3, 3, 3), np.float32)
        volume[1, 2, 0] = value
        nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / f"{name}.nii.gz")
        Image.fromarray(volume[1].astype(np.uint8)).save(tmp_path / f"{name}.png")
    assert "(i, j, k) (1, 2, 0)" in difference(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz", 0)
    assert "(2, 0): 0 became 2" in difference(tmp_path / "a.png", tmp_path / "b.png", 0)


def test_the_byte_of_anything_else(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"12345")
    (tmp_path / "b.bin").write_bytes(b"12x45")
    assert difference(tmp_path / "a.bin", tmp_path / "b.bin", 0) == "the first differing byte is number 2"


def test_files_that_are_new_missing_or_gone(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    (tmp_path / "new" / "x.json").write_text("{}")
    assert compare("p", tmp_path / "old", tmp_path / "new", listed={}).text == "the file is new"
    listed = {"x.json": "0" * 64}
    assert "not there" in compare("p", tmp_path / "old", tmp_path / "new", listed=listed).text
    assert "missing" in compare("p", tmp_path / "old", tmp_path / "new", listed={"x.json": EMPTY, "y.txt": "1"}).text


def test_values(tmp_path):
    old, new = tmp_path / "a", tmp_path / "b"
    old.write_text("1.5")
    new.write_text("1.5")
    assert compare_value("p", old, new).verdict == "identical"
    new.write_text("1.6")
    assert compare_value("p", old, new, 0.2).verdict == "equal"
    assert compare_value("p", old, new).verdict == "different"
    new.write_text("refused")
    assert "became 'refused'" in compare_value("p", old, new).text


def test_without_tolerance_other_bytes_are_a_difference_whatever_they_say(tmp_path):
    for name, kind in (("old", "int64"), ("new", "float64")):
        (tmp_path / name).mkdir()
        pd.DataFrame({"a": pd.Series([1, 2], dtype=kind)}).to_parquet(tmp_path / name / "table.parquet")
    listed = digest_files(dict(files_below(tmp_path / "old")))
    found = compare("table", tmp_path / "old", tmp_path / "new", listed=listed)
    assert (found.verdict, found.file) == (DIFFERENT, "table.parquet")
    assert compare("table", tmp_path / "old", tmp_path / "new", listed=listed, tolerance=1e-9).verdict == EQUAL
