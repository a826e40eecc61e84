from __future__ import annotations

import numpy as np
import pytest

import claimed_med as cm
from claimed_med.errors import InputError, ModelError
from claimed_med.models import onnx


@pytest.fixture(scope="module")
def exported(radiographs):
    bundle = radiographs[3]
    decision = cm.Decision({"verdict": "blessed", "subject": bundle.load().digest})
    return cm.export_onnx(bundle, decision), bundle, decision


def test_the_exported_model_says_the_same_of_real_input(exported, radiographs):
    made, bundle, _ = exported
    for image in radiographs[0].series()[:3]:
        rows = [cm.classify_images(image, one).predictions.load() for one in (made.exported, bundle)]
        assert rows[0]["score"][0] == pytest.approx(rows[1]["score"][0], abs=1e-4)
        assert rows[0]["predicted"][0] == rows[1]["predicted"][0]


def test_the_comparison_is_told(exported):
    report = exported[0].comparison.load()
    assert 0 <= report["largest_difference"] <= report["tolerance"]
    assert report["exported_digest"] != report["model_digest"]


def test_a_blessing_does_not_go_over_to_the_exported_model(exported):
    made, _, decision = exported
    with pytest.raises(cm.RefusedError, match="another payload"):
        cm.export_onnx(made.exported, decision)


def test_an_onnx_model_is_not_exported_again(exported):
    made = exported[0].exported
    with pytest.raises(InputError, match="no torch classification model"):
        cm.export_onnx(made, cm.Decision({"verdict": "blessed", "subject": made.load().digest}))


def test_outputs_that_differ_are_an_error(radiographs, monkeypatch):
    bundle = radiographs[3].load()
    images = np.random.default_rng(0).random((4, 1, 64, 64), dtype=np.float32)
    monkeypatch.setattr(onnx, "TOLERANCE", -1.0)
    with pytest.raises(ModelError, match="gives other outputs"):
        onnx.exported(bundle, images)
