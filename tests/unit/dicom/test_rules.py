from __future__ import annotations

import pytest
from pydicom import Dataset

from claimed_med.dicom.rules import parse
from claimed_med.errors import ContractError


@pytest.fixture
def header():
    dataset = Dataset()
    dataset.Modality, dataset.SliceThickness, dataset.SeriesDescription = "CT", 2.5, "Thorax native"
    dataset.ImageType, dataset.KVP = ["ORIGINAL", "PRIMARY", "AXIAL"], None
    return dataset


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        ("", True),
        ('Modality == "CT"', True),
        ('Modality != "CT"', False),
        ("SliceThickness in [1, 2.5]", True),
        ("SliceThickness in [2.6, 5]", False),
        ("SliceThickness < 2.5", False),
        ("SliceThickness >= 2.5", True),
        ("SliceThickness == 2.5", True),
        ('Modality in {"MR", "CT"}', True),
        ('SeriesDescription ~ "^thorax"', True),
        ('ImageType == "PRIMARY"', True),
        ('ImageType ~ "localizer"', False),
        ("KVP exists", False),
        ('not KVP exists and Modality == "CT"', True),
        ('Modality == "MR" or SliceThickness < 3', True),
        ('Modality == "MR" and SliceThickness < 3 or Modality == "CT"', True),
        ('Modality == "MR" and (SliceThickness < 3 or Modality == "CT")', False),
        ('not (Modality == "MR" or SliceThickness > 3)', True),
        ("RepetitionTime > 5", False),
    ],
)
def test_rules_mean_what_they_say(header, rule, matches):
    assert parse(rule).matches(header) is matches
    assert bool(parse(rule).why_not(header)) is not matches


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ('Modality = "CT"', "character 9"),
        ("Modality", "expected"),
        ('Modality == "CT" and', "keyword is expected"),
        ("(Modality exists", r"\) is expected"),
        ('SliceThickness < "thin"', "a number is expected"),
        ('SeriesDescription ~ "("', "regular expression is wrong"),
        ('Modalitty == "CT"', "keyword is expected"),
        ('PatientID == "1"', "may identify a patient"),
        ('StudyDate == "20200101"', "may identify a patient"),
        ('__import__("os")', "no part of a rule"),
        ('exec("os")', "keyword is expected"),
        ('Modality == "CT" Modality', "goes on"),
    ],
)
def test_a_wrong_rule_is_refused_with_its_place(rule, reason):
    with pytest.raises(ContractError, match=reason):
        parse(rule)


def test_a_reason_withholds_free_text(header):
    assert parse('SeriesDescription ~ "abdomen"').why_not(header) == [
        'SeriesDescription ~ "abdomen" is wanted; it is <withheld>'
    ]
