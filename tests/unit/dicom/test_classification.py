from __future__ import annotations

import pytest

import claimed_med as cm
from claimed_med.dicom import classification, validate
from claimed_med.dicom.classification import Classification
from claimed_med.testing import phantoms

MODEL = "ab" * 32


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return cm.DicomSeries(phantoms.write("chest_ct", tmp_path_factory.mktemp("ct"))).load()


def _said(predicted="well", **probabilities):
    return Classification(probabilities or {"well": 0.8, "ill": 0.2}, "ill", 0.5, predicted, MODEL)


def _texts(report):
    return [str(one.value) for one in report.iterall() if one.keyword in {"TextValue", "CodeMeaning", "CodeValue"}]


@pytest.mark.parametrize("predicted", ["well", "ill"])
def test_score_and_call_come_back(source, predicted):
    report = classification.encode(_said(predicted), source=source)
    assert classification.decode(report) == (pytest.approx(0.2), predicted)


def test_the_report_is_valid_and_names_model_and_threshold(source):
    report = classification.encode(_said(), source=source)
    assert validate.errors(validate.validate(report)) == []
    assert any(MODEL in one for one in _texts(report))
    assert any("threshold 0.5" in one for one in _texts(report))


def test_what_the_image_is_called_is_not_told_as_the_finding(source):
    """Finding is the class in question: a reader must not take its name for the result."""
    names = []
    for item in classification.encode(_said("well"), source=source).iterall():
        if item.keyword == "ContentSequence":
            for one in item.value:
                concept = one.get("ConceptNameCodeSequence", [{}])[0].get("CodeMeaning", "")
                if one.get("ValueType") == "CODE" and concept in {"Finding", classification.CALLED.meaning}:
                    names.append((str(concept), str(one.ConceptCodeSequence[0].CodeMeaning)))
    assert names == [("Finding", "ill"), (classification.CALLED.meaning, "well")]


def test_long_names_that_begin_alike_stay_two_classes(source):
    long = {"pneumonia of bacterial origin": 0.6, "pneumonia of viral origin": 0.4}
    said = Classification(long, "pneumonia of viral origin", 0.5, "pneumonia of bacterial origin", MODEL)
    codes = {one for one in _texts(classification.encode(said, source=source)) if one.startswith("PNEUMONIA")}
    assert len(codes) == 2
    assert all(len(one) <= 16 for one in codes)


def test_the_same_call_gives_the_same_bytes(source):
    from claimed_med.dicom.uid import to_bytes

    first, again = (to_bytes(classification.encode(_said(), source=source)) for _ in range(2))
    assert first == again
