from __future__ import annotations

import pytest

import claimed_med as cm
from claimed_med.errors import ContractError
from claimed_med.trust.attack import EPSILONS
from claimed_med.trust.corruption import CORRUPTIONS

FEW = {"n_images": 4, "n_bootstrap": 100, "subset": ""}


@pytest.fixture(scope="module")
def report(radiographs):
    images, cohort, _, bundle = radiographs
    return cm.measure_robustness(images, cohort, bundle, **FEW)


def test_every_corruption_and_attack_has_accuracy_against_strength(report):
    figures = {(one["name"], one["group"]): one for one in report.load()["metrics"]}
    for name, corruption in CORRUPTIONS.items():
        assert ("robust_accuracy", f"corruption={name}") in figures
        for strength in corruption.strengths:
            assert ("accuracy", f"corruption={name} & strength={strength:.4g}") in figures
    for name in ("fgsm", "pgd", "square"):
        for epsilon in EPSILONS:
            one = figures["accuracy", f"attack={name} & epsilon={epsilon:.4g}"]
            assert one["low"] <= one["value"] <= one["high"]


def test_an_attack_with_gradients_does_not_help_the_model(report):
    figures = {(one["name"], one["group"]): one["value"] for one in report.load()["metrics"]}
    strongest = figures["accuracy", f"attack=pgd & epsilon={EPSILONS[-1]:.4g}"]
    assert strongest <= figures["accuracy", "all"]


def test_examples_of_attacked_images_are_on_the_page(report):
    assert {"corruptions.png", "attacks.png", "fgsm_examples.png"} <= set(report.pictures)
    assert report.page().count("<img") == 3


def test_the_report_names_its_model(report, radiographs):
    assert report.load()["model_digest"] == radiographs[3].load().digest


def test_an_unknown_corruption_or_attack_is_refused(radiographs):
    images, cohort, _, bundle = radiographs
    for options in ({"corruptions": ["rain"]}, {"attacks": ["magic"]}):
        with pytest.raises(ContractError, match="unknown"):
            cm.measure_robustness(images, cohort, bundle, **FEW, **options)
