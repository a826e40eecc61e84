"""Volumes and their SEG objects in, a model out, its segmentations measured against the truth."""

from __future__ import annotations

import numpy as np
import pytest

import claimed_med as cm
from claimed_med.dicom import seg
from claimed_med.errors import ContractError, InputError
from claimed_med.testing import volumes


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    images = cm.DicomCollection(volumes.segmented_volumes(tmp_path_factory.mktemp("volumes")))
    return images, cm.Table(volumes.segmented_cohort(tmp_path_factory.mktemp("cohort")))


@pytest.fixture(scope="module")
def bundle(study):
    images, cohort = study
    return cm.train_segmenter(images, images, cohort, recipe="segmenter_small", epochs=30).bundle


@pytest.fixture(scope="module")
def compared(study, bundle):
    """The test volume, its segmentation, and the truth."""
    images, cohort = study
    wanted = set(cohort.load().query("split == 'test'")["series_uid"])
    volume = next(one for one in images.series() if str(one.load().headers[0].SeriesInstanceUID) in wanted)
    truth = cm.DicomSegmentation(next(volume.paths()[0].parent.glob("truth.dcm")))
    return volume, cm.segment_volumes(volume, bundle), truth


def test_a_model_knows_its_structures_with_their_codes(bundle):
    model = bundle.load()
    assert model.classes == ["Ball"]
    assert model.data["segments"][0]["kind"][0] == "4147007"
    assert model.metrics["validation_dice"] > 0.5


def test_a_segmentation_lies_on_its_volume_and_finds_the_ball(compared):
    volume, found, _ = compared
    labels = seg.merge(seg.decode(found.load(), volume.load()))
    assert labels.array.shape == volume.load().volume().array.shape
    np.testing.assert_allclose(labels.affine, volume.load().volume().affine)


def test_figures_of_cases_come_with_intervals(compared):
    _, found, truth = compared
    scores = cm.compare_segments(found, truth)
    report = cm.measure_segmentation(scores, n_bootstrap=100).load()
    figures = {one["name"]: one for one in report["metrics"] if one["group"] == "structure=Ball"}
    assert figures["dice"]["value"] > 0.5
    assert {"hd95_mm", "nsd", "dice_median", "hd95_mm_undefined"} <= set(figures)


def test_reports_of_something_else_are_no_comparisons():
    with pytest.raises(InputError, match="compare-segments"):
        cm.measure_segmentation(cm.Report({"kind": "x"}))


def test_what_cannot_be_learnt_is_said(study):
    images, cohort = study
    with pytest.raises(InputError, match=r"no SEG holds this structure.*Ball"):
        cm.train_segmenter(images, images, cohort, recipe="segmenter_small", structures=["Cube"])
    with pytest.raises(ContractError, match="another task"):
        cm.train_segmenter(images, images, cohort, recipe="xray_small")
    none = cm.DicomCollection([one for one in images.series()])
    with pytest.raises(InputError, match="no SEG object"):
        cm.train_segmenter(images, none, cohort, recipe="segmenter_small")


def test_a_classifier_does_not_segment(study, radiographs):
    with pytest.raises(InputError, match="no torch segmentation model"):
        cm.segment_volumes(study[0].series()[0], radiographs[3])
