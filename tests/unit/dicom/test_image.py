from __future__ import annotations

import highdicom as hd
import numpy as np
import pytest

from claimed_med.dicom import image, uid, validate
from claimed_med.errors import ContractError

NEW_GRID = np.array([[0, 0, 1.1, -31], [0, 1.1, 0, 12], [1.1, 0, 0, 99], [0, 0, 0, 1.0]])


def noise(shape=(9, 10, 11), low=-1000, high=2000):
    return np.random.default_rng(0).uniform(low, high, shape).astype(np.float32)


def encode(array, source, affine=NEW_GRID):
    return image.encode(hd.Volume(array, affine, "PATIENT"), source=source, description="resampled to 1.1 mm")


def real_values(images):
    return np.stack([
        item.pixel_array * float(item.get("RescaleSlope", 1)) + float(item.get("RescaleIntercept", 0))
        for item in images
    ])  # fmt: skip


@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
@pytest.mark.parametrize("body_part", [None, "CHEST", "KNEE"])
def test_slices_are_valid_dicom(modality, body_part, made_series):
    source = made_series(modality=modality, BodyPartExamined=body_part)
    for item in encode(noise(low=0), source)[::4]:
        assert validate.errors(validate.validate(item)) == []
        assert item.Modality == modality


@pytest.mark.parametrize(
    ("modality", "array", "error"),
    [
        ("CT", noise(), 0.03),
        ("PT", noise(low=0, high=7.5), 0.0002),
        ("MR", noise(low=0), 0.51),
        ("MR", noise(low=0, high=1), 0.00002),
        ("CT", np.rint(noise()), 0),
        ("CT", np.rint(noise()).astype(np.int16), 0),
        ("CT", np.rint(noise(low=0, high=60000)), 0),
        ("CT", np.full((2, 3, 4), 0.5, np.float32), 0),
        ("CT", np.zeros((2, 3, 4), np.float32), 0),
    ],
)
def test_real_values_come_back(modality, array, error, made_series):
    images = encode(array, made_series(modality=modality))
    assert np.abs(real_values(images) - array).max() <= error + 1e-9


def test_each_voxel_lies_where_the_affine_says(made_series):
    images = encode(noise(), made_series())
    for index, item in enumerate(images):
        assert [float(v) for v in item.ImagePositionPatient] == pytest.approx((NEW_GRID @ [index, 0, 0, 1])[:3])
        assert list(item.ImageOrientationPatient) == [1, 0, 0, 0, 1, 0]
        assert (item.SliceThickness, list(item.PixelSpacing)) == (1.1, [1.1, 1.1])


def test_slices_say_that_they_are_derived_and_from_what(made_series):
    source = made_series()
    images = encode(noise(), source)
    known = {header.SOPInstanceUID for header in source.headers}
    for item in images:
        referenced = [reference.ReferencedSOPInstanceUID for reference in item.SourceImageSequence]
        assert list(item.ImageType[:2]) == ["DERIVED", "SECONDARY"]
        assert item.DerivationDescription == "resampled to 1.1 mm"
        assert set(referenced) <= known
        assert 1 <= len(referenced) < len(known)
    assert images[0].SourceImageSequence[0].ReferencedSOPInstanceUID == source.headers[0].SOPInstanceUID


def test_slices_across_the_source_refer_to_all_of_it(made_series):
    source = made_series()
    sagittal = source.affine[:, [2, 0, 1, 3]]
    images = encode(np.zeros((24, 12, 20), np.int16), source, sagittal)
    assert all(len(item.SourceImageSequence) == len(source.headers) for item in images)


def test_technique_is_kept_where_all_slices_agree(made_series):
    source = made_series(KVP="120", ConvolutionKernel="B30f", SmallestImagePixelValue=3)
    for index, header in enumerate(source.headers):
        header.XRayTubeCurrent = str(100 + index)
    item = encode(noise(), source)[0]
    assert (item.KVP, item.ConvolutionKernel) == (120, "B30f")
    assert "XRayTubeCurrent" not in item
    assert "SmallestImagePixelValue" not in item


def test_the_series_is_new_and_the_space_is_the_sources(made_series):
    source = made_series()
    images = encode(noise(), source)
    assert len({item.SOPInstanceUID for item in images}) == len(images)
    assert {item.FrameOfReferenceUID for item in images} == {source.headers[0].FrameOfReferenceUID}
    assert images[0].SeriesInstanceUID != source.headers[0].SeriesInstanceUID


def test_equal_pixels_in_two_places_are_two_instances(made_series):
    images = encode(np.zeros((4, 5, 6), np.int16), made_series())
    assert len({item.SOPInstanceUID for item in images}) == 4


def test_same_call_gives_the_same_bytes(made_series):
    one, two = ([uid.to_bytes(item) for item in encode(noise(), made_series())] for _ in range(2))
    assert one == two


def test_values_that_are_no_numbers_are_refused(made_series):
    with pytest.raises(ContractError, match="finite"):
        encode(np.full((2, 3, 4), np.inf, np.float32), made_series())
