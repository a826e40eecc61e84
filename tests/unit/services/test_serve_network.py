"""A network that runs as a whole gives the bits of one that runs layer by layer; what cannot be recorded still runs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from claimed_med.handles import ModelBundle
from claimed_med.services.serve_model import features_of
from claimed_med.services.serve_network import MOST_AT_ONCE, Network
from claimed_med.testing.serving import classifier, prepared

SHAPE = (1, 64, 64)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return ModelBundle(classifier(tmp_path_factory.mktemp("model") / "bundle")).load()


class Turning(nn.Module):
    """Does something else with bright images: a graph of it would be wrong."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4096, 2)

    def forward(self, images):
        flat = images.flatten(1)
        return self.last(-flat if float(flat.mean()) > 0.5 else flat)


@pytest.mark.parametrize("n", [1, 2, 5, MOST_AT_ONCE + 3])
def test_bits_are_those_of_the_bundle(bundle, n):
    network = Network(bundle.network(), SHAPE)
    images = prepared(n, n=n)
    found, embedding = network(images)
    assert network.is_recorded
    assert np.array_equal(found, bundle.probabilities(images))
    assert embedding.shape == (n, 2048)


def test_several_threads_may_ask_at_once(bundle):
    network = Network(bundle.network(), SHAPE)
    images = [prepared(number) for number in range(16)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda one: network(one)[0], images))
    assert all(np.array_equal(one, bundle.probabilities(image)) for one, image in zip(found, images, strict=True))


def test_a_network_that_decides_by_the_image_runs_layer_by_layer():
    torch.manual_seed(0)
    plain = Turning().eval()
    network = Network(plain, SHAPE)
    for image in (np.full((1, 1, 64, 64), 0.9, np.float32), np.full((1, 1, 64, 64), 0.1, np.float32)):
        with torch.no_grad():
            expected = torch.softmax(plain(torch.from_numpy(image)).double(), 1).numpy()
        assert np.array_equal(network(image)[0], expected)
    assert not network.is_recorded


def test_a_network_without_a_linear_layer_has_no_embedding():
    network = Network(nn.Sequential(nn.Conv2d(1, 2, 64), nn.Flatten(1)).eval(), SHAPE)
    found, embedding = network(prepared(0))
    assert found.shape == (1, 2)
    assert embedding is None


def test_statistics_are_those_of_numpy():
    pixels = np.random.default_rng(0).normal(40, 10, (64, 32)).astype(np.float32)
    found = features_of(pixels)
    exact = pixels.astype(np.float64)
    expected = [exact.mean(), exact.std(), *np.percentile(exact, [5, 50, 95])]
    assert list(found) == [f"intensity_{name}" for name in ("mean", "sd", "p05", "p50", "p95")]
    assert np.allclose(list(found.values()), expected, rtol=1e-12)
    assert features_of(np.array([1.0, np.nan])) == {}
    assert features_of(np.array([-np.inf, 1.0])) == {}
    assert features_of(np.array([])) == {}
    assert features_of(np.array([7], dtype=np.int16))["intensity_p95"] == 7.0
