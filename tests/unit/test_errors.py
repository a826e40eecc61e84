from __future__ import annotations

import errno
import os
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


@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC, errno.ENOTDIR, errno.EACCES])
def test_what_cannot_be_written_is_an_output_error_without_the_path(code, tmp_path):
    told = errors.storage_error(OSError(code, "x", str(tmp_path / "DOE^JANE")), "here")
    assert isinstance(told, errors.OutputError)
    assert os.strerror(code) in str(told)
    assert "DOE" not in str(told)


def test_what_is_there_and_may_not_be_read_is_an_input_error(tmp_path, monkeypatch):
    path = tmp_path / "DOE^JANE.dcm"
    path.touch()
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    told = errors.storage_error(PermissionError(errno.EACCES, "x", str(path)), "here")
    assert isinstance(told, errors.InputError)
    assert "DOE" not in str(told)


def test_other_errors_of_the_system_are_none_of_the_storage():
    assert errors.storage_error(ConnectionResetError(errno.ECONNRESET, "x"), "here") is None
    assert errors.storage_error(ValueError("x"), "here") is None
