"""Grids of volumes: resample to cubic voxels, turn to standard axes, compare places. Volumes are duck-typed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK

from claimed_med.errors import InputError

LARGEST_VOXELS = 2_000_000_000
SMALLEST_OVERLAP = 0.01
# Patient axes (LPS) along which slices, rows and columns go.
ORIENTATIONS = {"axial": "HPL", "sagittal": "LFP", "coronal": "PFL"}
_INTERPOLATORS = {
    "linear": SimpleITK.sitkLinear,
    "nearest": SimpleITK.sitkNearestNeighbor,
    "b-spline": SimpleITK.sitkBSpline,
}


def resample(volume: Any, spacing_mm: float, interpolation: str = "linear") -> Any:
    """Resample to cubic voxels on the same field of view.

    Args:
        volume: Shape (slice, row, column), affine index -> LPS [mm].
        spacing_mm: Voxel size [mm].
        interpolation: `linear`, `nearest` or `b-spline`.

    Returns:
        A volume of the same type: int16 for int16 (rounded), else float32. The outer faces stay within half a voxel.

    Raises:
        InputError: The result would have more than two thousand million voxels.
    """
    old = np.array([float(size) for size in volume.spacing])
    shape = np.maximum(1, np.round(np.array(volume.array.shape) * old / spacing_mm)).astype(int)
    if np.prod(shape.astype(float)) > LARGEST_VOXELS:
        told = " x ".join(map(str, shape))
        raise InputError("resample", "the result would be too large", got=told, do="choose a larger spacing_mm")
    affine = np.asarray(volume.affine, np.float64)
    directions = affine[:3, :3] / old
    first = affine[:3, 3] + directions @ ((spacing_mm - old) / 2)
    image = _image(np.asarray(volume.array, np.float32), affine)
    if interpolation != "nearest":
        image = _smoothed(image, old, spacing_mm)
    reference = SimpleITK.Image([int(size) for size in shape[::-1]], SimpleITK.sitkFloat32)
    reference.SetOrigin(first.tolist())
    reference.SetSpacing([spacing_mm] * 3)
    reference.SetDirection(directions[:, ::-1].ravel().tolist())
    found = SimpleITK.GetArrayFromImage(_resampled(image, reference, _INTERPOLATORS[interpolation]))
    if volume.array.dtype == np.int16:
        found = np.clip(np.round(found), -32768, 32767).astype(np.int16)
    return _volume_like(volume, found, _affine(directions * spacing_mm, first))


def turned(volume: Any, orientation: str) -> Any:
    """Exchange and flip axes so that slices lie in a standard orientation; no voxel changes.

    Args:
        volume: A `highdicom.Volume`.
        orientation: `axial`, `sagittal` or `coronal`.
    """
    return volume.to_patient_orientation(ORIENTATIONS[orientation])


def require_overlap(where: str, volume: Any, reference: Any) -> None:
    """Refuse a volume that lies elsewhere than its reference.

    Raises:
        InputError: The boxes around both share less than a hundredth of the smaller one.
    """
    boxes = [_box(one) for one in (volume, reference)]
    shared = np.minimum(boxes[0][1], boxes[1][1]) - np.maximum(boxes[0][0], boxes[1][0])
    smaller = min(float(np.prod(high - low)) for low, high in boxes)
    if (shared <= 0).any() or np.prod(shared) < SMALLEST_OVERLAP * smaller:
        raise InputError(
            where, "the volume does not lie where its reference lies", do="check that both come from the same study"
        )


def _box(volume: Any) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    corners = np.array(np.meshgrid(*[(-0.5, size - 0.5) for size in volume.array.shape])).reshape(3, -1)
    points = np.asarray(volume.affine)[:3, :3] @ corners + np.asarray(volume.affine)[:3, 3:]
    return points.min(axis=1), points.max(axis=1)


def _image(array: npt.NDArray[np.float32], affine: npt.NDArray[np.float64]) -> Any:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(spacing[::-1].tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / spacing)[:, ::-1].ravel().tolist())
    return image


def _smoothed(image: Any, old: npt.NDArray[np.float64], new: float) -> Any:
    for axis, size in enumerate(old[::-1]):
        if new > 1.01 * size and image.GetSize()[axis] >= 4:
            image = SimpleITK.RecursiveGaussian(image, new / 2, False, 0, axis)
    return image


def _resampled(image: Any, reference: Any, method: int) -> Any:
    """Resample; outside of the outermost voxel centres the nearest voxel counts."""
    resampler = SimpleITK.ResampleImageFilter()
    resampler.SetReferenceImage(reference)
    resampler.SetInterpolator(method)
    resampler.SetUseNearestNeighborExtrapolator(True)
    return resampler.Execute(image)


def _affine(matrix: npt.NDArray[np.float64], origin: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = matrix, origin
    return affine


def _volume_like(volume: Any, array: npt.NDArray[Any], affine: npt.NDArray[np.float64]) -> Any:
    return type(volume)(array, affine, "PATIENT", frame_of_reference_uid=volume.frame_of_reference_uid)
