"""Where two files first differ, in the words of their format."""

from __future__ import annotations

import hashlib
import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom import Dataset, dcmread
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


def test_whole_numbers_of_volumes_and_tensors_may_be_labels_and_have_no_tolerance(tmp_path):
    labels = np.ones((3, 3, 3), np.uint8)
    for name, value in (("a", 1), ("b", 2)):
        labels[0, 1, 2] = value
        nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / f"{name}.nii")
        save_file({"classes": labels.astype(np.int64)}, tmp_path / f"{name}.safetensors")
    assert "voxel is (i, j, k) (0, 1, 2): 1 became 2" in difference(tmp_path / "a.nii", tmp_path / "b.nii", 5.0)
    told = difference(tmp_path / "a.safetensors", tmp_path / "b.safetensors", 5.0)
    assert "first differing weight is (tensor classes) (0, 1, 2)" in told


NIFTIS = {
    "units": (lambda one: one.header.set_xyzt_units("meter", "sec"), "field xyzt_units differs: 10 became 9"),
    "affine": (lambda one: one.set_sform(np.diag([1.0, 1.0, 1.001, 1.0]), 1), "field srow_z differs"),
    "code": (lambda one: one.header.set_sform(None, 0), "field sform_code differs"),
    "a text": (lambda one: one.header.__setitem__("descrip", b"DOE^JANE"), "field descrip differs"),
    "an extension": (
        lambda one: one.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"DOE^JANE")),
        "extension",
    ),
}


@pytest.mark.parametrize("name", NIFTIS)
def test_what_stands_around_the_voxels_of_a_volume_has_no_tolerance(tmp_path, name):
    change, words = NIFTIS[name]
    for file in ("a.nii.gz", "b.nii.gz"):
        volume = nib.Nifti1Image(np.zeros((2, 2, 2), np.float32), np.eye(4))
        volume.set_sform(np.eye(4), 1)
        volume.header.set_xyzt_units("mm", "sec")
        if file == "b.nii.gz":
            change(volume)
        nib.save(volume, tmp_path / file)
    told = difference(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz", 100.0)
    assert words in told
    assert "DOE" not in told


def test_a_volume_of_scaled_whole_numbers_is_computed_and_its_scale_is_not(tmp_path):
    for name, slope, value in (("a", 0.5, 2), ("b", 0.5, 3), ("c", 0.25, 2)):
        volume = nib.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4))
        volume.header.set_slope_inter(slope, 0)
        nib.save(volume, tmp_path / f"{name}.nii")
        content = bytearray((tmp_path / f"{name}.nii").read_bytes())
        content[352] = value
        (tmp_path / f"{name}.nii").write_bytes(content)
    assert difference(tmp_path / "a.nii", tmp_path / "b.nii", 0.5) == 0.5
    assert "scale" in difference(tmp_path / "a.nii", tmp_path / "c.nii", 5.0)


def test_the_words_and_types_of_weights_have_no_tolerance(tmp_path):
    weights = {"a": np.zeros(2, np.float32)}
    files = [tmp_path / f"{number}.safetensors" for number in range(4)]
    save_file(weights, files[0], {"labels": "lung,heart"})
    save_file(weights, files[1], {"labels": "heart,lung"})
    save_file({"a": np.zeros(2, np.float64)}, files[2], {"labels": "lung,heart"})
    save_file(weights, files[3], {"labels": "lung,heart", "planted": "DOE"})
    told = [difference(files[0], one, 1.0) for one in files[1:]]
    assert told == [
        "the metadata labels differs",
        "tensor a: the type was float32, now float64",
        "the metadata planted appeared",
    ]


def test_the_palette_mode_and_words_of_a_picture_have_no_tolerance(tmp_path):
    levels = np.array([[0, 1], [2, 3]], np.uint8)
    one = Image.fromarray(levels).convert("P")
    one.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    one.save(tmp_path / "a.png")
    one.putpalette([0, 0, 0, 255, 0, 0, 0, 254, 0, 0, 0, 255])
    one.save(tmp_path / "palette.png")
    one.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    one.putpixel((1, 0), 2)
    one.save(tmp_path / "index.png")
    Image.fromarray(levels).save(tmp_path / "grey.png")
    words = PngInfo()
    words.add_text("Author", "DOE^JANE")
    Image.fromarray(levels).save(tmp_path / "words.png", pnginfo=words)
    Image.fromarray(levels + 1).save(tmp_path / "brighter.png")
    assert difference(tmp_path / "a.png", tmp_path / "palette.png", 9.0) == "the palette differs"
    assert "(0, 1): 1 became 2" in difference(tmp_path / "a.png", tmp_path / "index.png", 9.0)
    assert difference(tmp_path / "a.png", tmp_path / "grey.png", 9.0) == "the mode was P, now L"
    assert difference(tmp_path / "grey.png", tmp_path / "words.png", 9.0) == "the property Author appeared"
    assert difference(tmp_path / "grey.png", tmp_path / "brighter.png", 1.0) == 1.0


def test_segments_and_what_a_file_says_of_itself_have_no_tolerance(pair):
    def label(dataset):
        dataset.SegmentationType = "LABELMAP"
        poke(dataset)

    old, new = pair(label)
    dataset = dcmread(old)
    dataset.SegmentationType = "LABELMAP"
    dataset.save_as(old)
    assert "voxel is (row, column) (4, 5)" in difference(old, new, 9.0)

    def rewritten(dataset):
        dataset.file_meta.ImplementationVersionName = "OTHER"

    assert "ImplementationVersionName" in difference(*pair(rewritten), 9.0)

    def nested(dataset):
        icon = Dataset()
        icon.Rows = icon.Columns = icon.BitsAllocated = 1
        icon.PixelData = b"\1\0"
        dataset.IconImageSequence = [icon]

    old, new = pair(nested)
    dataset = dcmread(new)
    dataset.IconImageSequence[0].PixelData = b"\2\0"
    dataset.save_as(old)
    assert "IconImageSequence[0].PixelData" in difference(old, new, 9.0)


def test_a_truth_is_no_number(tmp_path):
    old, new = tmp_path / "a.json", tmp_path / "b.json"
    old.write_text('{"flagged": true, "n": 1}')
    new.write_text('{"flagged": 1, "n": 1.0}')
    assert difference(old, new, 1.0) == "flagged: true became 1"


def test_a_file_of_another_name_is_another_file_whatever_the_tolerance(tmp_path):
    for name, file in (("old", "report.json"), ("new", "other.json")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("{}")
    found = compare("p", tmp_path / "old", tmp_path / "new", listed={"report.json": EMPTY}, tolerance=1.0)
    assert (found.verdict, found.file, found.text) == (DIFFERENT, "report.json", "the file is missing now")


@pytest.mark.parametrize("name", ["x.dcm", "x.safetensors", "x.nii", "x.nii.gz", "x.png", "x.parquet", "x.json"])
def test_a_damaged_file_differs_by_its_bytes(tmp_path, name):
    for folder, content in (("old", b"12345"), ("new", b"12x45")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(content)
    listed = {name: hashlib.sha256(b"12345").hexdigest()}
    found = compare("p", tmp_path / "old", tmp_path / "new", listed=listed, tolerance=1.0)
    assert (found.verdict, found.text) == (DIFFERENT, "the first differing byte is number 2")


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
