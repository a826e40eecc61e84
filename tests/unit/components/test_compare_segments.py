from __future__ import annotations

import numpy as np
import pytest

import claimed_med as cm
from claimed_med.imaging.compare import scores


def box(*spans):
    mask = np.zeros((20, 20, 20), bool)
    mask[tuple(slice(*span) for span in spans)] = True
    return mask


def test_a_shifted_box_has_analytic_scores():
    mask, truth = box((4, 14), (4, 14), (4, 14)), box((4, 14), (4, 14), (6, 16))
    found = scores(mask, truth, (1.0, 1.0, 1.5), 1.0)
    assert found["dice"] == pytest.approx(0.8)
    assert found["jaccard"] == pytest.approx(2 / 3)
    assert found["hd95_mm"] == pytest.approx(3.0)
    assert found["volume_ml"] == pytest.approx(1.5)


def test_equal_masks_agree_fully():
    mask = box((4, 14), (4, 14), (4, 14))
    found = scores(mask, mask, (1.0, 1.0, 1.0), 0.0)
    assert (found["dice"], found["hd95_mm"], found["nsd"], found["mean_surface_distance_mm"]) == (1, 0, 1, 0)


def test_an_empty_mask_leaves_distances_undefined_with_a_reason():
    found = scores(box((4, 14), (4, 14), (4, 14)), np.zeros((20, 20, 20), bool), (1.0, 1.0, 1.0), 1.0)
    assert (found["dice"], found["hd95_mm"], found["undefined"]) == (0, None, "a mask is empty")
    nothing = np.zeros((20, 20, 20), bool)
    assert scores(nothing, nothing, (1.0, 1.0, 1.0), 1.0)["dice"] is None


def test_segments_are_paired_by_code(lungs, example):
    series, segmentation = lungs
    report = cm.compare_segments(segmentation, segmentation).load()
    assert [(one["label"], one["dice"]) for one in report["segments"]] == [("Right lung", 1), ("Left lung", 1)]
    with pytest.raises(cm.InputError, match="no segment of one has a partner"):
        cm.compare_segments(segmentation, cm.segment_body(series))


def test_another_frame_of_reference_is_refused(lungs, example):
    _, segmentation = lungs
    other = cm.segment_lungs(cm.DicomSeries(example("empty_chest_ct")))
    with pytest.raises(cm.InputError, match="frames of reference"):
        cm.compare_segments(segmentation, other)
