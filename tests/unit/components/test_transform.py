"""The four components that change the form of a series: resample, turn, and NIfTI both ways."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

import claimed_med as cm
from claimed_med.testing.phantoms import write_series


@pytest.fixture
def head(example):
    return cm.DicomSeries(example("head_mr"))


def volume_of(handle, folder):
    return cm.DicomSeries(handle.save(folder)).load().volume()


def lps(volume, index):
    return (volume.affine @ [*index, 1.0])[:3]


@pytest.mark.parametrize("orientation", ["axial", "sagittal", "coronal"])
def test_turning_moves_no_voxel(head, tmp_path, orientation):
    before, after = head.load().volume(), volume_of(cm.normalize_orientation(head, orientation=orientation), tmp_path / "x")
    rng = np.random.default_rng(1)
    for index in rng.integers(0, before.array.shape, (50, 3)):
        place = np.linalg.inv(after.affine) @ [*lps(before, index), 1.0]
        nearest = np.round(place[:3]).astype(int)
        assert np.abs(place[:3] - nearest).max() < 1e-3
        assert after.array[tuple(nearest)] == before.array[tuple(index)]


def test_resampling_keeps_the_place_of_a_ramp(tmp_path):
    z, y, x = np.mgrid[0:20, 0:24, 0:28]
    stored = np.asarray(10 * z + 4 * y + 2 * x, np.uint16)
    write_series(tmp_path / "in", stored, spacing_mm=(4.0, 2.0, 2.0), modality="MR", name="ramp")
    series = cm.DicomSeries(tmp_path / "in")
    after = volume_of(cm.resample_series(series, spacing_mm=3.0), tmp_path / "out")
    assert after.spacing == pytest.approx((3.0, 3.0, 3.0))
    index = np.argwhere(np.ones(after.array.shape, bool))
    inner = index[((index >= 3) & (index < np.array(after.array.shape) - 3)).all(axis=1)]
    points = inner @ after.affine[:3, :3].T + after.affine[:3, 3]
    back = (points - series.load().volume().affine[:3, 3]) @ np.linalg.inv(series.load().volume().affine[:3, :3]).T
    expected = back @ [10, 4, 2]
    assert np.abs(after.array[tuple(inner.T)] - expected).max() < 1.0


def test_resampling_keeps_the_field_of_view(head, tmp_path):
    before, after = head.load().volume(), volume_of(cm.resample_series(head, spacing_mm=5.0), tmp_path / "x")
    for axis in range(3):
        extents = [one.spacing[axis] * one.array.shape[axis] for one in (before, after)]
        assert abs(extents[0] - extents[1]) <= 2.5


def test_nifti_holds_the_same_voxels_at_the_same_place(head, tmp_path):
    cm.convert_to_nifti(head).save(tmp_path / "nifti")
    image = nibabel.load(tmp_path / "nifti" / "volume.nii.gz")
    before = head.load().volume()
    for index in ((0, 0, 0), (5, 7, 9), (39, 63, 55)):
        ras = image.affine @ [index[2], index[1], index[0], 1.0]
        assert ras[:3] * [-1, -1, 1] == pytest.approx(lps(before, index), abs=1e-3)
        assert image.dataobj[index[2], index[1], index[0]] == before.array[index]


def test_there_and_back_again_changes_nothing(head, tmp_path):
    nifti = cm.convert_to_nifti(head)
    after = volume_of(cm.convert_from_nifti(nifti, head), tmp_path / "x")
    before = head.load().volume()
    np.testing.assert_array_equal(after.array, before.array)
    np.testing.assert_allclose(after.affine, before.affine, atol=1e-4)


def test_a_volume_from_elsewhere_is_refused(head, example):
    nifti = cm.convert_to_nifti(cm.DicomSeries(example("chest_ct")))
    with pytest.raises(cm.InputError, match="does not lie where"):
        cm.convert_from_nifti(nifti, head)
