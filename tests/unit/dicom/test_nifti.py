from __future__ import annotations

import time
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import SimpleITK

from claimed_med.dicom import nifti
from claimed_med.errors import ContractError, InputError

ORIENTATIONS = ["axial", "axial descending", "sagittal", "coronal descending", "oblique"]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("name", ["volume.nii", "volume.nii.gz"])
def test_there_and_back_is_the_same(orientation, name, made_series, tmp_path):
    volume = made_series(orientation).volume()
    array, affine = nifti.read(nifti.write(volume, tmp_path / name))
    assert np.array_equal(array, volume.array)
    assert array.dtype == volume.array.dtype
    assert affine == pytest.approx(volume.affine, abs=1e-4)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_another_reader_finds_each_voxel_in_the_same_place(orientation, made_series, tmp_path):
    volume = made_series(orientation).volume()
    image = SimpleITK.ReadImage(str(nifti.write(volume, tmp_path / "volume.nii.gz")))
    for index in ((0, 0, 0), (3, 5, 7), (11, 19, 23)):
        point = (volume.affine @ [*index, 1.0])[:3]
        assert image.GetPixel(index[::-1]) == volume.array[index]
        assert image.TransformContinuousIndexToPhysicalPoint([float(i) for i in index[::-1]]) == pytest.approx(
            tuple(point), abs=1e-3
        )


def test_the_same_volume_gives_the_same_bytes_under_another_name_and_time(made_series, tmp_path):
    volume = made_series().volume()
    first = nifti.write(volume, tmp_path / "a.nii.gz").read_bytes()
    time.sleep(1.1)
    assert nifti.write(volume, tmp_path / "b.nii.gz").read_bytes() == first


@pytest.mark.parametrize(
    ("given", "stored"),
    [(bool, "uint8"), (np.int64, "uint8"), (np.float32, "float32"), (np.float64, "float64"), (np.uint16, "uint16")],
)
def test_types_keep_their_values(given, stored, tmp_path):
    array = np.arange(24).reshape(2, 3, 4).astype(given)
    found, _ = nifti.read(nifti.write(SimpleNamespace(array=array, affine=np.eye(4)), tmp_path / "volume.nii"))
    assert found.dtype == stored
    assert np.array_equal(found, array)


def test_a_file_without_geometry_is_refused(tmp_path):
    path = tmp_path / "volume.nii"
    image = nibabel.Nifti1Image(np.zeros((2, 3, 4), np.int16), None)
    nibabel.save(image, path)
    with pytest.raises(InputError, match="where it lies"):
        nifti.read(path)


def test_a_series_of_volumes_is_refused(tmp_path):
    path = tmp_path / "volume.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 3, 4, 5), np.int16), np.eye(4)), path)
    with pytest.raises(InputError, match="not one volume"):
        nifti.read(path)


def test_junk_is_refused_without_its_name(tmp_path):
    path = tmp_path / "Smith_John.nii.gz"
    path.write_bytes(b"junk")
    with pytest.raises(InputError, match="cannot be read") as caught:
        nifti.read(path)
    assert "Smith" not in str(caught.value)


def test_complex_numbers_are_refused(tmp_path):
    volume = SimpleNamespace(array=np.zeros((2, 3, 4), np.complex64), affine=np.eye(4))
    with pytest.raises(ContractError, match="wrong type"):
        nifti.write(volume, tmp_path / "volume.nii")
