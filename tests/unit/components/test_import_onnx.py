from __future__ import annotations

import pytest

import claimed_med as cm
from claimed_med.errors import InputError, ModelError
from claimed_med.testing import phantoms


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(phantoms.write("onnx_model", tmp_path_factory.mktemp("onnx")))


def test_a_model_of_another_library_goes_the_same_way(model, radiographs):
    images, cohort, _, _ = radiographs
    bundle = cm.import_onnx(path=model, classes=["no_finding", "pneumonia"])
    row = cm.classify_images(images.series()[0], bundle).predictions.load().iloc[0]
    assert row["model_digest"] == bundle.load().digest
    assert row["predicted"] in {"no_finding", "pneumonia"}
    few = {"n_images": 6, "n_bootstrap": 100, "subset": "", "corruptions": ["noise"]}
    report = cm.measure_robustness(images, cohort, bundle, attacks=["fgsm"], **few).load()
    assert any("no gradients" in note for note in report["notes"])


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"classes": ["a"]}, InputError, "two or more classes"),
        ({"classes": ["a", "b"], "positive": "c"}, InputError, "positive one among them"),
        ({"classes": ["a", "b", "c"]}, ModelError, "another number of classes"),
        ({"classes": ["a", "b"], "path": "/nowhere/at/all"}, InputError, "path does not exist"),
    ],
)
def test_what_does_not_fit_is_said(model, options, error, told):
    with pytest.raises(error, match=told):
        cm.import_onnx(**{"path": model, **options})


def test_what_is_no_model_is_said(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelError, match="cannot be run"):
        cm.import_onnx(path=str(tmp_path), classes=["a", "b"])
