from __future__ import annotations

import json

import numpy as np
import pytest

import claimed_med as cm
from claimed_med.run import main
from claimed_med.testing import phantoms
from claimed_med.units import key_of, named_files


@pytest.fixture(scope="module")
def two_chests(tmp_path_factory):
    """Two chest series in one folder, and the lungs of both in another, loose and under foreign names."""
    folder = tmp_path_factory.mktemp("chests")
    for name in ("first", "second"):
        values = phantoms.chest_values((20, 48, 56))
        phantoms.write_series(folder / "ct" / name, values, spacing_mm=(12.0, 8.0, 6.0), name=name)
        cm.segment_lungs(cm.DicomSeries(folder / "ct" / name)).save(folder / name)
    (folder / "seg").mkdir()
    for number, name in enumerate(("second", "first")):
        target = folder / "seg" / f"IM{number}"
        target.write_bytes((folder / name / "segmentation.dcm").read_bytes())
    return folder


def test_loose_segmentations_join_the_series_to_which_they_refer(two_chests, tmp_path):
    words = [
        "--series",
        str(two_chests / "ct"),
        "--segmentation",
        str(two_chests / "seg"),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(["measure-segments", *words]) == 0
    listed = json.loads((tmp_path / "out" / "measurements" / "units.json").read_text())["units"]
    assert [unit["status"] for unit in listed] == ["done", "done"]


def test_a_series_without_its_segmentation_is_absent(two_chests, tmp_path):
    (tmp_path / "seg").mkdir()
    (tmp_path / "seg" / "only").write_bytes((two_chests / "seg" / "IM0").read_bytes())
    phantoms.head_mr(tmp_path / "ct" / "head")
    for source in (two_chests / "ct").rglob("*.dcm"):
        (tmp_path / "ct" / f"{source.parent.name}{source.name}").write_bytes(source.read_bytes())
    words = ["--series", str(tmp_path / "ct"), "--segmentation", str(tmp_path / "seg"), "--out", str(tmp_path / "out")]
    assert main(["measure-segments", *words]) == 0
    listed = json.loads((tmp_path / "out" / "measurements" / "units.json").read_text())["units"]
    assert sorted(unit["status"] for unit in listed) == ["absent", "absent", "done"]


def test_the_key_is_that_of_the_sorted_identifiers():
    assert key_of(["1.2", "1.1"]) == key_of(["1.1", "1.2"]) != key_of(["1.1"])


def test_names_of_source_files_are_never_reused(tmp_path):
    good, bad = tmp_path / "DOE^JANE.dcm", tmp_path / "other.dcm"
    good.write_bytes(b"1")
    bad.write_bytes(b"2")
    named = named_files([good, bad], ["1.2.3", "../../etc/passwd"])
    assert "1.2.3.dcm" in named
    assert all("DOE" not in name and "/" not in name for name in named)


def test_one_identifier_with_two_contents_makes_two_units(tmp_path):
    for number in (1, 2):
        values = np.full((4, 16, 16), number, np.int16)
        values[0, 0, 0] = 9
        folder = tmp_path / "in" / str(number)
        phantoms.write_series(folder, values, name="same", attributes={"PatientID": f"P{number}"})
    assert main(["check-quality", "--series", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 0
    listed = json.loads((tmp_path / "out" / "checked" / "units.json").read_text())["units"]
    assert len({unit["key"] for unit in listed}) == 2
    assert all(unit["status"] == "done" for unit in listed)


def test_an_empty_folder_is_an_input_error(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    assert main(["check-quality", "--series", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 3
    assert "holds nothing to process" in capsys.readouterr().err
