from __future__ import annotations

import numpy as np
import pytest

import claimed_med as cm
from claimed_med.dicom import sr
from claimed_med.imaging.measure import diameter, statistics


def test_numbers_are_those_of_the_mask(lungs, labels_of):
    series, segmentation = lungs
    rows = sr.decode(cm.measure_segments(series, segmentation).load())
    labels, values = labels_of(segmentation, series).array, series.load().volume().array
    for side in (1, 2):
        told = {(row.name.meaning, row.derivation.meaning if row.derivation else ""): row for row in rows if row.segment == side}
        inside = values[labels == side]
        assert told["Volume", ""].value == pytest.approx(inside.size * 8 * 4 * 4 / 1000)
        assert told["Attenuation Coefficient", "Mean"].value == pytest.approx(inside.mean(), rel=1e-6)
        assert told["Attenuation Coefficient", "Mean"].unit.value == "[hnsf'U]"


def test_the_diameter_of_a_box_is_its_diagonal():
    mask = np.zeros((9, 9, 9), bool)
    mask[2:5, 3:7, 1:6] = True
    affine = np.diag([2.0, 1.0, 0.5, 1.0])
    assert diameter(mask, affine) == pytest.approx(np.linalg.norm([6.0, 4.0, 2.5]))


def test_one_voxel_has_the_diagonal_of_a_voxel():
    mask = np.zeros((3, 3, 3), bool)
    mask[1, 1, 1] = True
    assert diameter(mask, np.eye(4)) == pytest.approx(np.sqrt(3))


def test_an_empty_mask_has_no_numbers_but_its_volume():
    found = statistics(np.zeros((2, 2, 2)), np.zeros((2, 2, 2), bool), np.eye(4))
    assert found.pop("volume_ml") == 0
    assert np.isnan(list(found.values())).all()


def test_the_report_refers_to_segmentation_and_source(lungs):
    series, segmentation = lungs
    report = str(cm.measure_segments(series, segmentation).load())
    assert segmentation.load().SOPInstanceUID in report
    assert series.load().headers[0].SOPInstanceUID in report
