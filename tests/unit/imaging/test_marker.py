from __future__ import annotations

import numpy as np
import pytest

from claimed_med.imaging.lungfield import lung_field
from claimed_med.imaging.marker import LEFT, NONE, RIGHT, marker_side
from claimed_med.testing import xrays


def _side(seed, size=128, mirrored=False, **planted):
    picture = xrays.draw(np.random.default_rng(seed), size=size, **planted) / 255
    picture = picture[:, ::-1] if mirrored else picture
    return marker_side(picture, lung_field(picture).lungs)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [64, 128, 256])
def test_a_mark_is_found_on_its_side(seed, size):
    assert _side(seed, size, marker=True) == LEFT
    assert _side(seed, size, marker=True, mirrored=True) == RIGHT


@pytest.mark.parametrize("seed", range(4))
def test_a_finding_in_a_lung_is_no_mark(seed):
    assert _side(seed) == NONE
    assert _side(seed, spot=0.35) == NONE


def test_an_empty_film_has_no_mark():
    assert marker_side(np.zeros((64, 64)), np.zeros((64, 64), dtype=bool)) == NONE
