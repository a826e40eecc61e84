"""Bad input gets a clear error before hours are lost; nothing half-written stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import claimed_med as cm
from claimed_med.errors import ContractError, InputError
from claimed_med.run import main
from claimed_med.testing import xrays

ROOT = Path(__file__).resolve().parents[3]
OPTIONS = {"recipe": "xray_small", "epochs": 1}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = xrays.xrays(tmp_path_factory.mktemp("made"), n_patients=24)
    imported = cm.import_xrays(folder=str(folder / "images"), table=str(folder / "labels.csv"))
    cohort = cm.make_cohort(imported.images, imported.labels)
    return imported.images, cm.split_cohort(cohort.cohort).split


def changed(table, **columns):
    return cm.Table(table.load().assign(**columns))


def test_a_model_knows_its_classes_threshold_and_data(study):
    bundle = cm.train_classifier(*study, **OPTIONS).bundle.load()
    assert (bundle.classes, bundle.positive) == (["no_finding", "pneumonia"], "pneumonia")
    assert 0 < bundle.threshold < 1
    counts = bundle.data["counts"]
    assert counts["train"]["n_images"] == (study[1].load()["split"] == "train").sum()
    assert set(counts) == {"train", "validation"}  # test images are never read


def test_the_positive_class_can_be_named(study):
    assert cm.train_classifier(*study, positive="no_finding", **OPTIONS).bundle.load().positive == "no_finding"
    with pytest.raises(ContractError, match="positive is no class"):
        cm.train_classifier(*study, positive="tuberculosis", **OPTIONS)


def test_one_class_is_refused(study):
    with pytest.raises(InputError, match=r"one class only.*label column"):
        cm.train_classifier(study[0], changed(study[1], label="pneumonia"), **OPTIONS)


def test_a_class_that_is_missing_in_a_part_is_refused(study):
    table = study[1].load()
    label = np.where((table["split"] == "validation").to_numpy(), "no_finding", table["label"])
    with pytest.raises(InputError, match="pneumonia has no image in validation"):
        cm.train_classifier(study[0], changed(study[1], label=label), **OPTIONS)


def test_a_cohort_without_split_is_refused(study):
    with pytest.raises(InputError, match=r"no rows for train and validation.*split-cohort"):
        cm.train_classifier(study[0], changed(study[1], split=""), **OPTIONS)


def test_a_patient_in_both_parts_is_refused(study):
    with pytest.raises(InputError, match="patients are in more than one part"):
        cm.train_classifier(study[0], changed(study[1], patient_key="the same"), **OPTIONS)


def test_a_patient_in_training_and_test_is_refused(study):
    table = study[1].load()
    keys, split = table["patient_key"].to_numpy().copy(), table["split"]
    keys[np.flatnonzero(split == "test")[0]] = keys[np.flatnonzero(split == "train")[0]]
    with pytest.raises(InputError, match="patients are in more than one part"):
        cm.train_classifier(study[0], changed(study[1], patient_key=keys), **OPTIONS)


def test_reading_in_other_processes_changes_no_bit(study):
    text = (ROOT / "claimed_med/models/recipes/xray_small.toml").read_text()
    alone = cm.train_classifier(*study, recipe=text, epochs=1).bundle.load()
    read = cm.train_classifier(*study, recipe=text + "\n[compute]\nreaders = 2\n", epochs=1).bundle.load()
    assert read.data["pixels_sha256"] == alone.data["pixels_sha256"]
    assert all(bool((read.weights[name] == alone.weights[name]).all()) for name in alone.weights)


def test_images_that_are_missing_are_refused(study):
    few = cm.DicomCollection(study[0].object[:5])
    few.final = True
    with pytest.raises(InputError, match="rows of the cohort have no image"):
        cm.train_classifier(few, study[1], **OPTIONS)


@pytest.mark.parametrize("recipe", ["no_such_recipe", 'task = "classification"\ndims = 2\n[network]\nname = "Magic"\n'])
def test_an_unknown_network_or_recipe_is_refused_before_any_image_is_read(study, recipe, monkeypatch):
    from claimed_med.dicom import cohort

    monkeypatch.setattr(cohort, "pixels", lambda _: pytest.fail("an image was read"))
    with pytest.raises(ContractError):
        cm.train_classifier(*study, recipe=recipe)


def test_pixels_that_are_nan_are_named_by_key(study, monkeypatch):
    from claimed_med.dicom import cohort

    monkeypatch.setattr(cohort, "pixels", lambda _: (np.full((64, 64), np.nan, dtype=np.float32), (1.0, 1.0)))
    with pytest.raises(InputError, match=r"images cannot be used \(2\.25\.\d+: pixels are NaN"):
        cm.train_classifier(*study, **OPTIONS)


def test_a_recipe_for_another_task_is_refused(study):
    with pytest.raises(ContractError, match="another task"):
        cm.train_classifier(*study, recipe="segmenter_small")


def test_nothing_is_written_when_training_is_refused(study, tmp_path, capsys):
    study[0].save(tmp_path / "images")
    changed(study[1], label="one").save(tmp_path / "cohort")
    words = ["--images", str(tmp_path / "images"), "--cohort", str(tmp_path / "cohort"), "--out", str(tmp_path / "out")]
    assert main(["train-classifier", *words]) == 3
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").rglob("*.*"))
    assert "one class only" in capsys.readouterr().err


def test_the_lineage_says_how_it_was_trained(study):
    record = cm.train_classifier(*study, **OPTIONS).bundle.record
    assert {"precision", "deterministic", "training_device"} <= set(record.units[0].statements)


def test_a_search_keeps_the_best_trial(study):
    found = cm.search_hyperparameters(*study, recipe="xray_small", n_trials=2, epochs=1)
    told = found.trials.load()
    assert len(told["trials"]) == 2
    assert found.bundle.load().metrics["validation_auc"] == pytest.approx(told["value"])
