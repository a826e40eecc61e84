"""Explanations of radiographs and of volumes: maps on the grid of their source, every map measured, shortcuts found."""

from __future__ import annotations

import highdicom as hd
import numpy as np
import pandas as pd
import pytest
from pydicom import dcmread

import claimed_med as cm
from claimed_med.dicom import seg
from claimed_med.dicom.uid import write
from claimed_med.errors import ContractError, InputError
from claimed_med.testing import phantoms, volumes
from claimed_med.trust.attribution import METHODS

VOLUME_RECIPE = """
task = "classification"
dims = 3
[[prepare]]
transform = "Resize"
spatial_size = [8, 24, 24]
[[prepare]]
transform = "ScaleIntensityRange"
a_min = -500.0
a_max = 500.0
b_min = 0.0
b_max = 1.0
clip = true
[network]
name = "Classifier"
channels = [4, 8]
strides = [2, 2]
[training]
epochs = 8
batch_size = 4
learning_rate = 0.01
[compute]
precision = "float32"
"""
SHAPE, SPACING_MM = (8, 24, 24), (4.0, 2.0, 2.0)
FEW = {"n_images": 1, "n_bootstrap": 100, "n_samples": 24, "n_regions": 12, "attributes": ["sex"]}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """CT volumes, half of them with a bright ball and a SEG of it; a model that has learnt to see the ball."""
    root, rows = tmp_path_factory.mktemp("volumes"), []
    for number in range(8):
        ill = number % 2 == 1
        generator = np.random.default_rng(number)
        middle = np.array([4, *generator.integers(7, 17, size=2)])
        away = (np.indices(SHAPE) - middle[:, None, None, None]) * np.array(SPACING_MM)[:, None, None, None]
        inside = ((away**2).sum(axis=0) < 9**2) & ill
        values = (generator.normal(-100, 20, SHAPE) + 400 * inside).astype(np.int16)
        home = root / f"patient{number}"
        attributes = {"PatientID": f"VOLUME-{number}", "PatientSex": "FM"[number // 2 % 2]}
        phantoms.write_series(home, values, spacing_mm=SPACING_MM, name=f"ball {number}", attributes=attributes)
        source = cm.DicomSeries(home).load()
        rows.append({"series_uid": str(source.headers[0].SeriesInstanceUID), "label": "ball" if ill else "a none"})
        if ill:
            grid = source.volume()
            frame = {"frame_of_reference_uid": grid.frame_of_reference_uid, "coordinate_system": "PATIENT"}
            labels = hd.Volume(inside.astype(np.uint8), grid.affine, **frame)
            write(seg.encode(labels, source=source, segments=volumes.BALL), home / "truth.dcm")
    images = cm.DicomCollection(root)
    cohort = cm.make_cohort(images, cm.Table(pd.DataFrame(rows))).cohort
    split = cm.split_cohort(cohort, train_fraction=0.5, validation_fraction=0.25, stratify=["label"]).split
    bundle = cm.train_classifier(images, split, recipe=VOLUME_RECIPE).bundle
    found = [cm.classify_images(one, bundle).predictions.load() for one in images.series()]
    return images, split, cm.Table(pd.concat(found, ignore_index=True)), bundle


@pytest.fixture(scope="module")
def explained(study):
    return cm.explain_predictions(*study, methods=list(METHODS), subset="", place="body", **FEW)


def test_a_model_of_volumes_learns_what_is_in_them(study):
    table = study[1].load().merge(study[2].load()[["sop_uid", "predicted"]], on="sop_uid")
    assert (table["label"] == table["predicted"]).mean() > 0.8


def test_every_method_explains_volumes_and_every_map_is_measured(explained):
    report = explained.explanation.load()
    for image in report["images"]:
        assert set(image["fidelity"]) == set(METHODS)
        for figures in image["fidelity"].values():
            assert set(figures) >= {"deletion", "insertion", "infidelity", "sensitivity", "randomisation_correlation"}
    assert {one["group"] for one in report["metrics"] if one["name"] == "deletion"} == {f"method={m}" for m in METHODS}


def test_the_pointing_check_runs_where_there_is_a_truth(explained):
    pointed = [one["pointing"] for one in explained.explanation.load()["images"] if one["pointing"]]
    assert pointed
    told = pointed[0]["region_ablation"]
    assert told["mass_inside"] > 3 * told["chance"]


def test_maps_lie_on_the_volume_that_they_explain(explained, study, tmp_path):
    explained.maps.save(tmp_path / "maps")
    sources = {one.key: one.load() for one in study[0].series()}
    folder = next(one for one in sorted((tmp_path / "maps").iterdir()) if one.is_dir())
    files = sorted(folder.glob("*.dcm"))
    assert len(files) == len(METHODS)
    for file in files:
        made = hd.imread(file)
        source = sources[folder.name]
        assert made.FrameOfReferenceUID == source.headers[0].FrameOfReferenceUID
        assert made.get_volume().array.shape == SHAPE
        on_source = made.get_volume().match_geometry(source.volume())
        np.testing.assert_allclose(on_source.affine, source.volume().affine, atol=1e-6)


def test_captures_show_image_and_map(explained, tmp_path):
    explained.captures.save(tmp_path / "captures")
    files = sorted((tmp_path / "captures").rglob("*.dcm"))
    assert len(files) == len(METHODS) * FEW["n_images"]
    pixels = dcmread(files[0]).pixel_array
    assert pixels.shape[-1] == 3
    left, right = np.split(pixels, 2, axis=1)
    assert left.std() > 0
    assert (left != right).any()


def test_every_explained_image_has_a_picture(explained):
    pictures = explained.explanation.pictures
    assert len(pictures) == FEW["n_images"]
    assert all(content.startswith(b"\x89PNG") for content in pictures.values())


def test_the_same_question_has_the_same_answer(study):
    first, again = (
        cm.explain_predictions(*study, methods=["lime"], subset="", place="none", **FEW).explanation.load()
        for _ in range(2)
    )
    assert first == again


def test_predictions_of_another_model_are_refused(study):
    foreign = cm.Table(study[2].load().assign(model_digest="0" * 64))
    with pytest.raises(InputError, match="another model"):
        cm.explain_predictions(study[0], study[1], foreign, study[3], subset="", **FEW)


def test_an_unknown_method_is_refused_with_the_known_ones(study):
    with pytest.raises(ContractError, match=r"unknown method.*region_ablation"):
        cm.explain_predictions(*study, methods=["tea_leaves"], subset="", **FEW)
