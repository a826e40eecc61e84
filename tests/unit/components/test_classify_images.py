from __future__ import annotations

import numpy as np
import pytest

import claimed_med as cm
from claimed_med.dicom import classification, validate
from claimed_med.errors import InputError


def test_report_and_table_say_the_same(radiographs):
    images, _, predictions, bundle = radiographs
    table = predictions.load().set_index("sop_uid")
    for image in images.series()[:3]:
        score, called = classification.decode(cm.classify_images(image, bundle).report.load())
        row = table.loc[str(image.object[0].SOPInstanceUID)]
        assert score == pytest.approx(row["score"], abs=1e-4)
        assert called == row["predicted"]
        assert row["predicted"] == ("pneumonia" if row["score"] >= row["threshold"] else "no_finding")


def test_the_report_is_valid(radiographs):
    images, _, _, bundle = radiographs
    made = cm.classify_images(images.series()[0], bundle).report.load()
    assert validate.errors(validate.validate(made)) == []


def test_the_report_names_its_model(radiographs):
    images, _, _, bundle = radiographs
    made = cm.classify_images(images.series()[0], bundle).report.load()
    texts = [str(one.value) for one in made.iterall() if one.keyword == "TextValue"]
    assert f"model sha256 {bundle.load().digest}" in texts


def test_the_table_holds_no_identifier_and_no_truth(radiographs):
    images, cohort, predictions, _ = radiographs
    table = predictions.load()
    assert not {"label", "patient_id"} & set(table.columns)
    names = {str(one.object[0].PatientID) for one in images.series()}
    assert not table.astype(str).isin(names).to_numpy().any()
    assert set(table["sop_uid"]) == set(cohort.load()["sop_uid"])


def test_probabilities_add_up(radiographs):
    table = radiographs[2].load()
    columns = [name for name in table.columns if name.startswith("probability_")]
    np.testing.assert_allclose(table[columns].sum(axis=1), 1.0, atol=1e-9)
    assert (table["score"] == table["probability_pneumonia"]).all()


def test_a_volume_is_refused_by_a_model_of_radiographs(radiographs, example):
    with pytest.raises(InputError, match="axes"):
        cm.classify_images(cm.DicomSeries(example("chest_ct")), radiographs[3])
