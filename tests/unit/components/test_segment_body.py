from __future__ import annotations

import numpy as np
import pytest

import claimed_med as cm
from claimed_med.imaging.body import body_mask
from claimed_med.testing.phantoms import chest_values


def test_the_body_is_found_with_its_air_and_without_the_table(example, labels_of):
    series = cm.DicomSeries(example("chest_ct"))
    labels = labels_of(cm.segment_body(series), series).array > 0
    _, y, x = (np.linspace(-1, 1, size) for size in labels.shape)
    body = np.broadcast_to((x[None, None, :] / 0.85) ** 2 + (y[None, :, None] / 0.72) ** 2 < 1, labels.shape)
    assert 2 * (labels & body).sum() / (labels.sum() + body.sum()) > 0.99
    assert not labels[:, -5:].any()


def test_a_table_that_touches_the_body_is_cut_off():
    values = np.full((2, 60, 60), -1000)
    values[:, 10:40, 15:45] = 30
    values[:, 40:42, :] = 30
    mask = body_mask(values, (5.0, 3.0, 3.0), -300.0, 10.0)
    assert mask[:, 12:38, 17:43].all()
    assert not mask[:, 40:42, :8].any()


def test_air_alone_is_an_empty_body():
    assert not body_mask(np.full((2, 8, 8), -1000), (1.0, 1.0, 1.0), -300.0, 10.0).any()


def test_another_modality_is_refused(example):
    with pytest.raises(cm.InputError, match="modality"):
        cm.segment_body(cm.DicomSeries(example("head_mr")))


def test_the_phantom_is_what_the_test_believes():
    assert chest_values()[16, 40, 48] > -100
