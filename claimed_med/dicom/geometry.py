"""Judge the positions of a volume's slices, and give the affine index -> LPS [mm]. Geometry is never guessed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from claimed_med.dicom.finding import Finding
from claimed_med.dicom.grouping import SAME_PLACE_MM, Frame, is_localizer, normal_of

if TYPE_CHECKING:
    from collections.abc import Sequence

EVEN_MM, EVEN_SHARE = 0.01, 0.01


@dataclass(frozen=True)
class Geometry:
    """Where the voxels of a volume are.

    Attributes:
        affine: Index (slice, row, column) -> LPS [mm]; sheared when the gantry was tilted; None when unknown.
        positions: Distance of every slice along the normal [mm].
        findings: What was noticed; a fatal one refuses the volume.
    """

    affine: np.ndarray | None
    positions: np.ndarray
    findings: tuple[Finding, ...]


def judge(frames: Sequence[Frame]) -> Geometry:
    """Judge sorted slices of one orientation.

    Args:
        frames: Slices sorted along the normal.
    """
    findings = [Finding("Localizer", "the image is a localizer (scout)")] if is_localizer(frames[0]) else []
    if any(frame.position is None or frame.orientation is None for frame in frames):
        text = "the image has no position and orientation in the patient, so it is no part of a volume"
        return Geometry(
            None, np.arange(len(frames), dtype=float), (*findings, Finding("MissingPosition", text, {}, fatal=True))
        )
    spacing = frames[0].spacing
    if spacing is None or min(spacing) <= 0:
        text = "pixel spacing is missing or zero, so sizes are unknown"
        return Geometry(None, np.zeros(len(frames)), (*findings, Finding("MissingSpacing", text, {}, fatal=True)))
    points = np.asarray([frame.position for frame in frames])
    orientation = np.mean(np.asarray([frame.orientation for frame in frames], float), axis=0)
    normal = normal_of(tuple(orientation))
    places = points @ normal
    if len(frames) == 1:
        step, found = _single(frames[0])
        findings += found
        shift = normal * step
    else:
        gaps = np.diff(places)
        findings += _gaps(places, gaps)
        step = float(places[-1] - places[0]) / (len(frames) - 1)
        base = typical_gap(gaps)
        tilt = _tilt(points, places, normal, base)
        findings += tilt
        shift = _shift(points, places, normal, step) if tilt else normal * step
    return Geometry(_affine(points[0], shift, orientation, spacing), places, tuple(findings))


def typical_gap(gaps: np.ndarray) -> float:
    """The distance that most neighbours have [mm]; slices at one place are left out."""
    real = gaps[gaps > SAME_PLACE_MM]
    return float(np.median(real)) if len(real) else 0.0


def tolerance(gap: float) -> float:
    """How far a distance may be off and still be even [mm]."""
    return max(EVEN_MM, EVEN_SHARE * gap)


def _single(frame: Frame) -> tuple[float, list[Finding]]:
    if frame.thickness > 0:
        text = f"the volume has one slice; its thickness is {frame.thickness:g} mm"
        return frame.thickness, [Finding("SingleSlice", text, {"thickness_mm": frame.thickness})]
    text = "the volume has one slice, and neither its thickness nor a spacing is given"
    return 1.0, [Finding("SingleSlice", text, {}, fatal=True)]


def _gaps(places: np.ndarray, gaps: np.ndarray) -> list[Finding]:
    findings = []
    same = int((gaps <= SAME_PLACE_MM).sum())
    if same:
        at = float(places[:-1][gaps <= SAME_PLACE_MM][0])
        text = f"{same} slice{'s lie' if same > 1 else ' lies'} at the place of another (first at {at:.1f} mm)"
        findings.append(Finding("DuplicatePosition", text, {"n_slices": same, "first_at_mm": round(at, 3)}, fatal=True))
    real = gaps[gaps > SAME_PLACE_MM]
    base = typical_gap(gaps)
    off = np.abs(real - base)
    if len(real) == 0 or off.max() <= tolerance(base):
        return findings
    multiples = np.round(real / base)
    if multiples.min() >= 1 and (np.abs(real - multiples * base) <= tolerance(base) * multiples).all():
        starts = places[:-1][gaps > SAME_PLACE_MM]
        first = int(np.argmax(multiples > 1))
        n_missing = int((multiples - 1).sum())
        where = f"between {starts[first]:.1f} mm and {starts[first] + real[first]:.1f} mm"
        text = f"{n_missing} slice{'s are' if n_missing > 1 else ' is'} missing, first {where} (spacing {base:.2f} mm)"
        told = {"n_missing": n_missing, "spacing_mm": round(base, 4), "first_at_mm": round(float(starts[first]), 3)}
        findings.append(Finding("MissingSlice", text, told, fatal=True))
    else:
        low, high = float(real.min()), float(real.max())
        text = f"the distance between slices changes from {low:.2f} to {high:.2f} mm"
        told = {"low_mm": round(low, 4), "high_mm": round(high, 4)}
        findings.append(Finding("UnevenSpacing", text, told, fatal=True))
    return findings


def _tilt(points: np.ndarray, places: np.ndarray, normal: np.ndarray, base: float) -> list[Finding]:
    """Look at how slices move within their plane: steadily is a tilt, otherwise they are off the line."""
    inside = points - points[0] - np.outer(places - places[0], normal)
    length = places[-1] - places[0]
    if length <= SAME_PLACE_MM:
        return []
    slope = inside.T @ (places - places[0]) / ((places - places[0]) ** 2).sum()
    left = np.linalg.norm(inside - np.outer(places - places[0], slope), axis=1).max()
    angle = float(np.degrees(np.arctan(np.linalg.norm(slope))))
    findings = []
    if np.linalg.norm(slope) * base > tolerance(base):
        text = f"the gantry was tilted by {angle:.1f} degrees: slices are sheared against their normal"
        findings.append(Finding("GantryTilt", text, {"angle_deg": round(angle, 3)}, fatal=True))
    if left > tolerance(base):
        text = f"slices lie up to {left:.2f} mm beside a straight line"
        findings.append(Finding("InconsistentPosition", text, {"off_mm": round(float(left), 4)}, fatal=True))
    return findings


def _shift(points: np.ndarray, places: np.ndarray, normal: np.ndarray, step: float) -> np.ndarray:
    along = places - places[0]
    inside = points - points[0] - np.outer(along, normal)
    slope = inside.T @ along / (along**2).sum()
    return np.asarray((normal + slope) * step)


def _affine(origin: np.ndarray, shift: np.ndarray, orientation: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Assemble the affine; row and column directions are made exactly orthonormal (headers are rounded)."""
    along_columns = orientation[:3] / np.linalg.norm(orientation[:3])
    down_rows = orientation[3:] - (orientation[3:] @ along_columns) * along_columns
    down_rows /= np.linalg.norm(down_rows)
    affine = np.eye(4)
    affine[:3, 0] = shift
    affine[:3, 1] = down_rows * spacing[0]
    affine[:3, 2] = along_columns * spacing[1]
    affine[:3, 3] = origin
    return affine
