"""Nothing that was left in a de-identified object goes out."""

from __future__ import annotations

import pytest
from pydicom import dcmread

from claimed_med.cli import main
from claimed_med.dicom.storing import refuse_left, store
from claimed_med.errors import RefusedError
from claimed_med.testing import phantoms


class Unreachable:
    """A destination that must not be asked."""

    def store(self, paths):
        raise AssertionError(f"{len(paths)} objects were sent")


@pytest.fixture
def objects(tmp_path, monkeypatch):
    monkeypatch.setenv("CLAIMED_MED_SECRET", "a secret of more than sixteen bytes")
    phantoms.write("head_mr", tmp_path / "in")
    assert main(["run", "deidentify-dicom", "--files", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 0
    return sorted((tmp_path / "out").rglob("2.25*.dcm"))


def test_what_de_identification_made_may_go(objects):
    assert refuse_left(objects) is None


def test_an_edited_object_stays_here_and_nothing_else_goes(objects):
    edited = dcmread(objects[1])
    edited.PatientBirthDate, edited.OperatorsName = "19470311", "PLANTEDSURNAME"
    edited.save_as(objects[1])
    with pytest.raises(RefusedError, match="PatientBirthDate must be empty") as caught:
        store(Unreachable(), objects)
    assert "19470311" not in str(caught.value)
    assert "PLANTED" not in str(caught.value)


def test_other_objects_are_not_held_against_a_profile(tmp_path):
    phantoms.write("head_mr", tmp_path)
    assert refuse_left(sorted(tmp_path.rglob("*.dcm"))) is None
