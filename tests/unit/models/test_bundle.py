from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from onnx import TensorProto, helper

import claimed_med as cm
from claimed_med.errors import InputError, ModelError
from claimed_med.models import fit, networks, onnx
from claimed_med.models.bundle import Bundle, read
from claimed_med.models.held import held
from tests.unit.models.conftest import pictures


@pytest.fixture(scope="module")
def bundle():
    from claimed_med.models import recipe

    chosen = recipe.load("xray_small").changed(epochs=1, batch_size=8)
    network = networks.definition(
        chosen.network, task="classification", dims=2, n_channels=1, n_classes=2, size=(64, 64)
    )
    made = fit.fit(chosen, network, pictures(16, 1, size=64), pictures(8, 2, size=64), n_classes=2, seed=0)
    return Bundle(
        classes=["no", "yes"],
        positive="yes",
        threshold=0.4,
        recipe=chosen,
        network_definition=network,
        weights=made.weights,
        metrics={"validation_auc": 0.9},
        data={"counts": {"train": {"n_images": 16}}},
        training={"seed": 0},
    )


@pytest.fixture
def images():
    return np.stack([image.numpy() for image in pictures(6, 3, size=64).images])


def test_a_bundle_is_the_same_after_it_was_saved(bundle, images, tmp_path):
    again = cm.ModelBundle(cm.ModelBundle(bundle).save(tmp_path / "b")).load()
    assert again.digest == bundle.digest
    assert again.describe() == bundle.describe()
    assert (again.probabilities(images) == bundle.probabilities(images)).all()


def test_monai_loads_the_same_network(bundle, images, tmp_path):
    folder = cm.ModelBundle(bundle).save(tmp_path / "b")
    parser = ConfigParser()
    parser.read_config(folder / "configs" / "inference.json")
    parser.read_meta(folder / "configs" / "metadata.json")
    parser["bundle_root"] = str(folder)
    parser.get_parsed_content("load_weights")
    network = parser.get_parsed_content("network")
    with torch.no_grad():
        found = torch.softmax(network(torch.from_numpy(images)).double(), dim=1).numpy()
    assert np.allclose(found, bundle.probabilities(images), atol=1e-6)
    prepared = parser.get_parsed_content("preprocessing")(torch.rand(1, 100, 90))
    assert prepared.shape == (1, 64, 64)


def test_an_exported_model_gives_the_same_probabilities(bundle, images, tmp_path):
    made, difference = onnx.exported(bundle, images)
    assert difference < onnx.TOLERANCE
    again = read(cm.ModelBundle(made).save(tmp_path / "o"))
    assert np.allclose(again.probabilities(images), bundle.probabilities(images), atol=onnx.TOLERANCE)
    with pytest.raises(InputError, match="no gradients"):
        again.network()


def test_a_model_of_another_library_runs_as_a_bundle(bundle, images):
    """A linear model over flat pixels, in the form in which scikit-learn's are exported."""
    weights = np.random.default_rng(0).normal(0, 0.01, (64 * 64, 2)).astype(np.float32)
    node = helper.make_node("MatMul", ["pixels", "weights"], ["scores"])
    graph = helper.make_graph(
        [node],
        "linear",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [None, 64 * 64])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor("weights", TensorProto.FLOAT, weights.shape, weights.tobytes(), raw=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    made = Bundle(["no", "yes"], "yes", 0.5, bundle.recipe, onnx=model.SerializeToString())
    scores = images.reshape(len(images), -1).astype(np.float64) @ weights
    wanted = 1 / (1 + np.exp(scores[:, 0] - scores[:, 1]))
    assert np.allclose(made.probabilities(images)[:, 1], wanted, atol=1e-5)


def test_a_result_is_the_same_alone_and_after_others(bundle):
    pixels = np.random.default_rng(1).random((80, 70)) * 255
    alone = bundle.classify(pixels, (1.0, 1.0)).probabilities
    bundle.classify(pixels * 0.5, (1.0, 1.0))
    assert bundle.classify(pixels, (1.0, 1.0)).probabilities == alone


def test_the_threshold_decides_between_two_classes(bundle):
    pixels = np.random.default_rng(1).random((64, 64))
    score = bundle.classify(pixels, (1.0, 1.0)).probabilities[1]
    for threshold, called in ((score - 1e-9, "yes"), (score + 1e-9, "no")):
        assert replace(bundle, threshold=threshold).classify(pixels, (1.0, 1.0)).predicted == called


def test_nan_pixels_are_refused(bundle):
    pixels = np.zeros((64, 64))
    pixels[3, 3] = np.nan
    with pytest.raises(InputError, match="NaN"):
        bundle.classify(pixels, (1.0, 1.0))


def test_the_card_names_what_nobody_can_know(bundle):
    files = bundle.files()
    card = json.loads(files["docs/model_card.json"])
    assert any("reference standard" in one for one in card["open questions"])
    assert "# Model card" in files["docs/model_card.md"].decode()


@pytest.mark.parametrize("damage", ["bundle.json", "models/model.safetensors"])
def test_a_damaged_bundle_is_refused(bundle, damage, tmp_path):
    folder = cm.ModelBundle(bundle).save(tmp_path / "b")
    (folder / damage).write_bytes(b"{}" if damage.endswith("json") else b"nothing")
    with pytest.raises((InputError, ModelError)):
        read(folder)


def test_weights_of_another_network_are_refused(bundle):
    other = replace(bundle, weights={"x": torch.zeros(1)})
    with pytest.raises(ModelError, match="do not fit"):
        other.network()


def test_a_model_is_read_once(bundle, tmp_path):
    handle = cm.ModelBundle(cm.ModelBundle(bundle).save(tmp_path / "b"))
    assert held(handle) is held(cm.ModelBundle(tmp_path / "b"))
    with pytest.raises(InputError, match=r"no bundle\.json"):
        held(cm.ModelBundle(tmp_path))
