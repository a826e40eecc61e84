from __future__ import annotations

import pickle

import pytest

from claimed_med import errors


def test_a_text_says_where_what_got_allowed_do():
    error = errors.InputError("here", "it is wrong", got=3, allowed="1 or 2", do="choose one")
    assert str(error) == "here: it is wrong; got 3; allowed 1 or 2; choose one."


@pytest.mark.parametrize("cls", errors.ClaimedMedError.__subclasses__())
def test_every_error_survives_pickling_and_has_its_own_exit_code(cls):
    error = cls("here", "what", got=1)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.exit_code) == (cls, str(error), cls.exit_code)
    assert [one.exit_code for one in errors.ClaimedMedError.__subclasses__()].count(cls.exit_code) == 1


def test_findings_travel_with_an_input_error():
    copy = pickle.loads(pickle.dumps(errors.InputError("here", "what", findings=["MissingSlice"])))
    assert copy.findings == ("MissingSlice",)


@pytest.mark.parametrize("keyword", ["PatientName", "PatientID", "StudyDate", "StudyDescription", "AccessionNumber"])
def test_identifying_header_values_are_withheld(keyword):
    assert errors.header_value(keyword, "DOE^JANE") == "<withheld>"


def test_geometry_is_shown():
    assert errors.header_value("SliceThickness", 5.0) == "5.0"


def test_a_missing_package_names_its_extra():
    with pytest.raises(errors.MissingDependencyError, match=r"claimed_med\[torch\]"):
        errors.require("no_such_package_at_all", "torch")


def test_a_source_file_is_named_without_its_name(tmp_path):
    path = tmp_path / "DOE^JANE.dcm"
    path.write_bytes(b"x")
    assert "DOE" not in errors.name_of(path)
