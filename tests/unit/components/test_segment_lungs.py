from __future__ import annotations

import numpy as np
import pytest

import claimed_med as cm
from claimed_med.imaging.compare import scores
from claimed_med.testing.phantoms import CORONAL, SAGITTAL, chest_values, write_series

SPACING = (8.0, 4.0, 4.0)


def truth():
    """1 where the phantom has its right lung, 2 where its left (columns run from right to left)."""
    air = chest_values() < -500
    body = np.zeros(air.shape, int)
    _, y, x = (np.linspace(-1, 1, size) for size in air.shape)
    inside = (x[None, None, :] / 0.85) ** 2 + (y[None, :, None] / 0.72) ** 2 < 1
    body[air & inside & (x < 0)] = 1
    body[air & inside & (x > 0)] = 2
    return body


def test_both_lungs_are_found_on_their_side(lungs, labels_of):
    series, segmentation = lungs
    labels = labels_of(segmentation, series).array
    for side in (1, 2):
        assert scores(labels == side, truth() == side, SPACING, 2.0)["dice"] > 0.97


@pytest.mark.parametrize("orientation", [SAGITTAL, CORONAL])
def test_right_is_the_patients_right_in_every_orientation(tmp_path, labels_of, orientation):
    axial = chest_values((24, 48, 56))
    if orientation == SAGITTAL:  # slices to -x, rows downwards, columns to the back
        stored = axial.transpose(2, 0, 1)[::-1, ::-1]
    else:  # slices to the back, rows downwards, columns to the left
        stored = axial.transpose(1, 0, 2)[:, ::-1]
    step = 6.0 if orientation == SAGITTAL else -6.0
    normal = np.cross(orientation[:3], orientation[3:])
    positions = [np.abs(normal) * 6.0 * index if step < 0 else normal * 6.0 * index for index in range(len(stored))]
    write_series(
        tmp_path, np.ascontiguousarray(stored), orientation=orientation, spacing_mm=(6.0, 8.0, 6.0), positions=positions
    )
    series = cm.DicomSeries(tmp_path)
    labels = labels_of(cm.segment_lungs(series), series)
    right, left = (centre_x(labels, side) for side in (1, 2))
    assert right < left - 50


def centre_x(labels, side):
    return float((labels.affine @ [*np.argwhere(labels.array == side).mean(axis=0), 1.0])[0])


def test_a_thorax_without_lungs_gives_two_empty_segments(example, labels_of):
    series = cm.DicomSeries(example("empty_chest_ct"))
    segmentation = cm.segment_lungs(series)
    assert not labels_of(segmentation, series).array.any()
    assert len(segmentation.load().SegmentSequence) == 2


def test_another_modality_is_refused(example):
    with pytest.raises(cm.InputError, match="got MR; allowed CT"):
        cm.segment_lungs(cm.DicomSeries(example("head_mr")))


def test_too_few_slices_are_refused(tmp_path):
    write_series(tmp_path, chest_values()[:15], spacing_mm=SPACING)
    with pytest.raises(cm.InputError, match="at least 16"):
        cm.segment_lungs(cm.DicomSeries(tmp_path))
