from __future__ import annotations

import numpy as np
import pytest

from claimed_med.dicom import sc, uid, validate
from claimed_med.errors import ContractError

PICTURES = np.random.default_rng(0).integers(0, 256, (2, 31, 33, 3)).astype(np.uint8)


def test_pictures_come_back_pixel_by_pixel(made_series):
    captures = sc.encode(PICTURES, source=made_series(), description="Overview")
    assert all(np.array_equal(capture.pixel_array, PICTURES[i]) for i, capture in enumerate(captures))


@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
@pytest.mark.parametrize("body_part", [None, "CHEST", "KNEE"])
def test_captures_are_valid_dicom(modality, body_part, made_series):
    source = made_series(modality=modality, BodyPartExamined=body_part)
    for capture in sc.encode(PICTURES, source=source, description="Overview"):
        assert validate.errors(validate.validate(capture)) == []


def test_captures_form_one_series_in_the_sources_study(made_series):
    source = made_series()
    captures = sc.encode(PICTURES, source=source, description="Overview")
    assert {capture.StudyInstanceUID for capture in captures} == {source.headers[0].StudyInstanceUID}
    assert len({capture.SeriesInstanceUID for capture in captures}) == 1
    assert [capture.InstanceNumber for capture in captures] == [1, 2]
    assert len({capture.SOPInstanceUID for capture in captures}) == 2


def test_same_call_gives_the_same_bytes(made_series):
    one, two = (
        [uid.to_bytes(capture) for capture in sc.encode(PICTURES, source=made_series(), description="Overview")]
        for _ in range(2)
    )
    assert one == two


@pytest.mark.parametrize("pictures", [PICTURES[..., 0], PICTURES.astype(np.float32), PICTURES[..., :2]])
def test_other_forms_are_refused(pictures, made_series):
    with pytest.raises(ContractError, match="wrong form"):
        sc.encode(pictures, source=made_series(), description="Overview")
