from __future__ import annotations

import pytest

import claimed_med as cm


def test_every_file_is_taken_over_or_reported(example):
    folder = example("collection")
    taken = cm.load_folder(path=str(folder))
    report = taken.findings.load()
    n_files = sum(path.is_file() for path in folder.rglob("*"))
    assert report["n_objects"] + report["n_skipped"] == n_files
    assert {one["finding"] for one in report["skipped"]} == {"NotDicom"}


def test_no_source_name_survives(example, tmp_path):
    saved = cm.load_folder(path=str(example("collection"))).collection.save(tmp_path / "saved")
    assert all(path.stem.replace(".", "").isdigit() for path in saved.glob("*.dcm"))
    assert not any("IMAGES" in path.as_posix() for path in saved.rglob("*"))


def test_a_copy_of_an_image_is_reported_not_counted(example, tmp_path):
    source = next(example("head_mr").glob("*.dcm"))
    (tmp_path / "a.dcm").write_bytes(source.read_bytes())
    (tmp_path / "b.dcm").write_bytes(source.read_bytes())
    report = cm.load_folder(path=str(tmp_path)).findings.load()
    assert (report["n_objects"], [one["finding"] for one in report["skipped"]]) == (1, ["RepeatedInstance"])


def test_a_folder_without_dicom_is_refused(tmp_path):
    (tmp_path / "note.txt").write_text("nothing")
    with pytest.raises(cm.InputError, match="no DICOM object"):
        cm.load_folder(path=str(tmp_path))
