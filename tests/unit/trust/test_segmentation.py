from __future__ import annotations

from claimed_med.trust import segmentation


def _case(dice, missing=()):
    told = {"label": "Ball", "dice": dice, "hd95_mm": 2.0, "nsd": 0.9, "mean_surface_distance_mm": 1.0}
    return {"segments": [told] if dice is not None else [], "only_in_reference": list(missing)}


def _figures(cases):
    found = segmentation.metrics_of(segmentation.collect(cases), 200, 0)
    return {one.name: one for one in found}


def test_a_structure_that_was_not_found_counts_as_zero_and_is_counted():
    figures = _figures({"a": _case(0.8), "b": _case(None, ["Ball"])})
    assert figures["dice"].value == 0.4
    assert figures["nsd"].value == 0.45
    assert figures["hd95_mm"].value == 2.0
    assert figures["hd95_mm"].n == 1
    assert figures["hd95_mm_undefined"].value == 1


def test_intervals_hold_their_value():
    figures = _figures({str(number): _case(0.5 + number / 100) for number in range(30)})
    assert figures["dice"].low < figures["dice"].value < figures["dice"].high
    assert figures["dice_median"].value == 0.645


def test_a_figure_that_is_never_defined_says_so():
    figures = _figures({"a": _case(None, ["Ball"])})
    assert figures["hd95_mm"].value is None
    assert figures["hd95_mm"].note
    assert segmentation.picture(segmentation.collect({"a": _case(0.5)})).startswith(b"\x89PNG")
