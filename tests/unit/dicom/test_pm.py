from __future__ import annotations

import highdicom as hd
import numpy as np
import pytest

from claimed_med.dicom import codes, pm, uid, validate
from claimed_med.errors import ContractError


def encode(array, source):
    quantities = hd.Volume(array, source.affine, "PATIENT")
    return pm.encode(quantities, source=source, quantity=codes.SIGNAL_INTENSITY, unit=codes.NO_UNIT)


def chance(source):
    return np.random.default_rng(0).normal(size=source.shape).astype(np.float32)


@pytest.mark.parametrize("orientation", ["axial", "sagittal descending", "oblique"])
def test_values_come_back_bit_by_bit_in_the_same_place(orientation, made_series):
    source = made_series(orientation)
    array = chance(source)
    found = hd.pm.ParametricMap.from_dataset(encode(array, source)).get_volume(apply_real_world_transform=False)
    assert np.array_equal(found.match_geometry(source.volume()).array, array)


@pytest.mark.parametrize("array", ["noise", "constant"])
def test_maps_are_valid_dicom(array, made_series):
    source = made_series()
    values = chance(source) if array == "noise" else np.full(source.shape, 0.5, np.float32)
    assert validate.errors(validate.validate(encode(values, source))) == []


def test_values_that_are_no_numbers_are_refused(made_series):
    source = made_series()
    with pytest.raises(ContractError, match="not finite"):
        encode(np.full(source.shape, np.nan, np.float32), source)


def test_same_call_gives_the_same_bytes(made_series):
    source = made_series()
    assert uid.to_bytes(encode(chance(source), source)) == uid.to_bytes(encode(chance(source), source))
