from __future__ import annotations

import numpy as np
import pytest

from claimed_med.imaging.lungfield import lung_field
from claimed_med.testing import xrays
from claimed_med.trust.performance import Scored
from claimed_med.trust.shortcut import attribute_metrics, auc_without


def simulated(pull, n=400, seed=0, prevalence=(0.5, 0.5)):
    """Scores that know the label, and the view as far as `pull` says."""
    generator = np.random.default_rng(seed)
    view = generator.random(n) < 0.5
    positive = generator.random(n) < np.where(view, *prevalence)
    raw = generator.normal(0, 1, n) + 1.5 * positive + pull * view
    scores = 1 / (1 + np.exp(-raw))
    scored = Scored(scores, positive, scores > 0.6, np.arange(n).astype(str))
    return scored, np.where(view, "PA", "AP")


def figures(scored, values):
    return {one.name: one for one in attribute_metrics(scored, list(values), "view", n_bootstrap=200, seed=0)}


def test_a_score_that_betrays_the_view_is_found():
    found = figures(*simulated(1.5))["attribute_from_score_auc"]
    assert found.value > 0.75
    assert found.low > 0.65


def test_a_score_that_knows_nothing_of_the_view_is_not_blamed():
    """Also not where the label goes with the view: a good model then goes with it too, but not within a label."""
    found = figures(*simulated(0.0, prevalence=(0.8, 0.3)))
    assert found["attribute_from_score_auc"].low < 0.55
    assert found["label_from_attribute_auc"].value == pytest.approx(0.75, abs=0.05)
    assert found["output_from_attribute_auc"].value > 0.6


def test_an_attribute_with_one_value_is_too_few():
    scored, _ = simulated(0.0)
    assert {one.note for one in figures(scored, ["PA"] * len(scored)).values()} == {"too few"}
    assert {one.note for one in figures(scored, ["PA"] * 395 + ["AP"] * 5).values()} == {"too few"}


def test_the_worst_of_several_values_counts():
    scored, values = simulated(1.5)
    three = np.where(np.arange(len(values)) % 3 == 0, "LL", values)
    assert figures(scored, three)["attribute_from_score_auc"].value > 0.6


@pytest.mark.parametrize("inside", [True, False])
def test_the_auc_without_the_place_says_where_the_model_looks(inside):
    generator = np.random.default_rng(0)
    mask = np.zeros((16, 16), bool)
    mask[4:8, 4:8] = True
    positive = np.arange(40) % 2 == 1
    images = [generator.random((1, 16, 16)).astype(np.float32) * 0.3 for _ in positive]
    place = (slice(4, 8), slice(4, 8)) if inside else (slice(12, 16), slice(12, 16))
    for image, ill in zip(images, positive, strict=True):
        image[(0, *place)] += 0.5 * ill

    def probabilities(batch):
        score = batch[(slice(None), 0, *place)].mean(axis=(1, 2))
        return np.stack([1 - score, score], axis=1)

    scored = Scored(np.zeros(40), positive, positive, np.arange(40).astype(str))
    found = auc_without(probabilities, images, [mask] * 40, scored, 1, group="place", n_bootstrap=100, seed=0)
    assert (found.value < 0.75) == inside


@pytest.mark.parametrize("seed", range(4))
def test_lungs_of_a_made_radiograph_are_found(seed):
    image = xrays.draw(np.random.default_rng(seed), size=128, spot=0.35)
    found = lung_field(image)
    row, column = np.mgrid[0:128, 0:128] / 128
    truth = np.zeros((128, 128), bool)
    for middle in (0.31, 0.69):
        truth |= ((column - middle) / 0.145) ** 2 + ((row - 0.5) / 0.3) ** 2 < 1
    assert found.found
    assert 2 * (found.lungs & truth).sum() / (found.lungs.sum() + truth.sum()) > 0.85


def test_where_no_lungs_are_seen_the_usual_place_is_taken():
    found = lung_field(np.add.outer(np.arange(64), np.arange(64)))
    assert not found.found
    assert 0.1 < found.lungs.mean() < 0.6


def test_lungs_of_most_real_radiographs_are_found(data):
    from PIL import Image

    files = sorted((data / "cxr_nih" / "images").glob("*.png"))[::10]
    found = []
    for file in files:
        with Image.open(file) as opened:
            found.append(lung_field(np.asarray(opened.convert("L"))))
    assert sum(one.found for one in found) > 0.6 * len(files)
    assert all(0.05 < one.lungs.mean() < 0.65 for one in found)
