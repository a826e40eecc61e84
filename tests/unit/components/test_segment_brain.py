from __future__ import annotations

import numpy as np
import pytest

import claimed_med as cm
from claimed_med.testing.brain_study import head_of
from claimed_med.testing.phantoms import write_series

pytestmark = pytest.mark.xdist_group("torch")


@pytest.fixture(scope="module")
def brain(example):
    series = cm.DicomSeries(example("brain_mr"))
    return series, cm.segment_brain(series)


def test_the_brain_of_the_template_is_found(brain, labels_of):
    series, segmentation = brain
    labels = labels_of(segmentation, series)
    found_ml = labels.array.sum() * 8 / 1000
    assert 1800 < found_ml < 2150
    signal = series.load().volume().array
    assert (signal[labels.array > 0] > 0).mean() > 0.97


def test_the_mask_lies_where_the_head_lies_whatever_the_axes(brain, labels_of, tmp_path):
    """The same head in sagittal slices gives the same brain, in the patient's frame."""
    series, segmentation = brain
    cm.normalize_orientation(series, orientation="sagittal").save(tmp_path / "sagittal")
    turned = cm.DicomSeries(tmp_path / "sagittal")
    first, second = labels_of(segmentation, series), labels_of(cm.segment_brain(turned), turned)
    assert np.abs(centre(first) - centre(second)).max() < 1.0
    assert abs(first.array.sum() / second.array.sum() - 1) < 0.01


def centre(labels):
    return (labels.affine @ [*np.argwhere(labels.array > 0).mean(axis=0), 1.0])[:3]


def test_a_part_of_a_head_is_refused(tmp_path):
    head, _ = head_of(4)
    stored = np.asarray(head.transpose(2, 1, 0)[:20], np.uint16)
    write_series(tmp_path, stored, spacing_mm=(4.0, 4.0, 4.0), modality="MR", name="part")
    with pytest.raises(cm.InputError, match="no whole head"):
        cm.segment_brain(cm.DicomSeries(tmp_path))


def test_another_body_part_is_refused_before_any_work(tmp_path):
    stored = np.ones((20, 32, 32), np.uint16)
    attributes = {"BodyPartExamined": "KNEE"}
    write_series(tmp_path, stored, spacing_mm=(6.0, 6.0, 6.0), modality="MR", name="knee", attributes=attributes)
    with pytest.raises(cm.InputError, match="got KNEE"):
        cm.segment_brain(cm.DicomSeries(tmp_path))


@pytest.mark.gpu
def test_the_gpu_gives_the_same_brain(brain, labels_of):
    import torch

    assert torch.cuda.is_available()
    series, segmentation = brain
    assert 1800 < labels_of(segmentation, series).array.sum() * 8 / 1000 < 2150
