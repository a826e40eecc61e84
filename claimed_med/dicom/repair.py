"""Opt-in repairs of a volume's geometry; each says what it did, for the lineage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import highdicom as hd
import numpy as np

from claimed_med.dicom.geometry import Geometry, judge, typical_gap
from claimed_med.dicom.grouping import SAME_PLACE_MM, Frame
from claimed_med.dicom.pixels import Array, read_stored

if TYPE_CHECKING:
    from collections.abc import Sequence

REPAIRS = ("drop_duplicates", "resample_uneven", "untilt")


def chosen(name: str) -> tuple[str, ...]:
    """The repairs that a setting names: `none`, one of `REPAIRS`, or `all`."""
    return {"none": (), "all": REPAIRS}.get(name, (name,))


def drop_duplicates(frames: Sequence[Frame], geometry: Geometry) -> tuple[list[Frame], Geometry, list[str]]:
    """Drop slices that are exact copies (place and stored values) of another; others stay, and stay refused."""
    same = np.flatnonzero(np.diff(geometry.positions) <= SAME_PLACE_MM) + 1
    if len(same) == 0:
        return list(frames), geometry, []
    stored = read_stored(frames)
    copies = {int(index) for index in same if np.array_equal(stored[index], stored[index - 1])}
    kept = [frame for index, frame in enumerate(frames) if index not in copies]
    return kept, judge(kept), [f"drop_duplicates: {len(copies)} exact copies dropped"] if copies else []


def resample_even(volume: Array, geometry: Geometry, affine: np.ndarray) -> tuple[Array, np.ndarray, list[str]]:
    """Interpolate linearly between slices onto an even grid at the smallest spacing that occurs.

    Args:
        volume: Shape (slice, row, column), real units.
        geometry: Uneven positions along the normal [mm].
        affine: Index -> LPS [mm]; its first column is replaced.

    Returns:
        float32 volume, affine and what was done.
    """
    places = geometry.positions - geometry.positions[0]
    gaps = np.diff(places)
    step = float(min(typical_gap(gaps), gaps[gaps > SAME_PLACE_MM].min()))
    count = int(np.floor(places[-1] / step + 1e-6)) + 1
    wanted = np.arange(count) * step
    right = np.clip(np.searchsorted(places, wanted, side="right"), 1, len(places) - 1)
    share = ((wanted - places[right - 1]) / (places[right] - places[right - 1])).astype(np.float32)[:, None, None]
    source = volume.astype(np.float32)
    result = source[right - 1] * (1 - share) + source[right] * share
    direction = affine[:3, 0] / np.linalg.norm(affine[:3, 0])
    even = affine.copy()
    even[:3, 0] = direction * step / abs(direction @ _normal(affine))
    return result, even, [f"resample_uneven: {len(places)} slices onto {count} at {step:.4f} mm, linear"]


def untilt(volume: Array, affine: np.ndarray) -> tuple[Array, np.ndarray, list[str]]:
    """Shift every slice within its plane so that the slice axis is the normal; linear, edges repeat the minimum.

    Args:
        volume: Shape (slice, row, column), real units.
        affine: Sheared affine, index -> LPS [mm].

    Returns:
        float32 volume on the widened grid, orthogonal affine and what was done.
    """
    from scipy import ndimage

    normal, down, along = _normal(affine), _unit(affine[:3, 1]), _unit(affine[:3, 2])
    spacing = np.linalg.norm(affine[:3, 1]), np.linalg.norm(affine[:3, 2])
    drift = np.array([affine[:3, 0] @ down / spacing[0], affine[:3, 0] @ along / spacing[1]])
    shifts = np.arange(len(volume))[:, None] * drift
    low, high = np.floor(shifts.min(axis=0)).astype(int), np.ceil(shifts.max(axis=0)).astype(int)
    rows, columns = volume.shape[1] + high[0] - low[0], volume.shape[2] + high[1] - low[1]
    result = np.full((len(volume), rows, columns), float(volume.min()), np.float32)
    for index, plane in enumerate(volume):
        offset = low - shifts[index]
        ndimage.affine_transform(
            plane.astype(np.float32),
            np.ones(2),
            offset,
            output=result[index],
            order=1,
            mode="constant",
            cval=float(volume.min()),
        )
    straight = affine.copy()
    straight[:3, 0] = normal * (affine[:3, 0] @ normal)
    straight[:3, 3] = affine[:3, 3] + affine[:3, 1] * low[0] + affine[:3, 2] * low[1]
    angle = np.degrees(np.arccos(np.clip(_unit(affine[:3, 0]) @ normal, -1, 1)))
    return result, straight, [f"untilt: {angle:.3f} degrees, linear"]


def as_volume(array: Array, affine: np.ndarray, frame_of_reference: str) -> hd.Volume:
    """Wrap array and affine as `highdicom.Volume` in the patient's LPS frame."""
    uid = frame_of_reference or None
    return hd.Volume(array, affine, "PATIENT", frame_of_reference_uid=uid)


def _normal(affine: np.ndarray) -> np.ndarray:
    return _unit(np.cross(affine[:3, 2], affine[:3, 1]))


def _unit(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector / np.linalg.norm(vector))
