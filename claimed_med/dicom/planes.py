"""The planes of a multi-frame object that is derived from a series, and the source slice of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import highdicom as hd
import numpy as np
from pydicom import Dataset
from pydicom.dataelem import DataElement
from pydicom.sr.codedict import codes
from pydicom.valuerep import format_number_as_ds

from claimed_med.dicom import slices

if TYPE_CHECKING:
    import numpy.typing as npt
    from pydicom.sr.coding import Code

    from claimed_med.dicom.series import Series

LEAST_TOLERANCE_MM = 0.01
RELATIVE_TOLERANCE = 0.01
PURPOSE = hd.sr.CodedConcept.from_code(codes.DCM.SourceImageForImageProcessingOperation)


@dataclass(frozen=True)
class Planes:
    """Parallel planes of equal size.

    Attributes:
        positions: Shape (n, 3): centre of the first voxel of each plane, LPS [mm].
        orientation: ImageOrientationPatient: along a row, then down a column.
        spacing: PixelSpacing (between rows, between columns) [mm].
        slice_spacing: Distance between neighbouring planes along the normal [mm].
        thickness: SliceThickness [mm].
        size: Rows and columns.
        sources: The source slice that lies in each plane, or None.
        same_pixels: Whether row and column indices agree with those of the source slices.
    """

    positions: npt.NDArray[np.float64]
    orientation: npt.NDArray[np.float64]
    spacing: tuple[float, float]
    slice_spacing: float
    thickness: float
    size: tuple[int, int]
    sources: tuple[slices.Plane | None, ...]
    same_pixels: bool

    @classmethod
    def on(cls, affine: npt.NDArray[np.float64], shape: tuple[int, ...], source: Series) -> Self:
        """Lay the planes of an array of `shape` (slice, row, column) on `affine` (index -> LPS [mm])."""
        down, along = affine[:3, 1], affine[:3, 2]
        spacing = (float(np.linalg.norm(down)), float(np.linalg.norm(along)))
        orientation = np.concatenate([along / spacing[1], down / spacing[0]])
        normal = np.cross(orientation[:3], orientation[3:])
        normal /= np.linalg.norm(normal)
        step = abs(float(affine[:3, 0] @ normal))
        positions = affine[:3, 3] + np.arange(shape[0])[:, None] * affine[:3, 0]
        tolerance = max(LEAST_TOLERANCE_MM, RELATIVE_TOLERANCE * step)
        sources = slices.match_planes(slices.source_planes(source), positions, normal, tolerance)
        planes = cls(
            positions, orientation, spacing, step, step, (shape[1], shape[2]), tuple(sources), same_pixels=False
        )
        return planes._snapped(source)

    def _snapped(self, source: Series) -> Self:
        """Take over the exact numbers of the source slices where the pixels are the source's own."""
        header = source.headers[0]
        if (int(header.get("Rows") or 0), int(header.get("Columns") or 0)) != self.size:
            return self
        if not all(self._agrees(plane, position) for plane, position in zip(self.sources, self.positions, strict=True)):
            return self
        exact = np.array([plane.position for plane in self.sources if plane is not None], dtype=np.float64)
        first = self.sources[0]
        orientation = np.array(first.orientation) if first is not None and first.orientation else self.orientation
        thickness = header.get("SliceThickness")
        try:
            thick = float(thickness) if thickness else self.thickness
        except ValueError:
            thick = self.thickness
        return replace(
            self,
            positions=exact,
            orientation=orientation,
            thickness=thick if thick > 0 else self.thickness,
            same_pixels=True,
        )

    def _agrees(self, plane: slices.Plane | None, position: npt.NDArray[np.float64]) -> bool:
        if plane is None or plane.position is None or plane.orientation is None:
            return False
        tolerance = max(LEAST_TOLERANCE_MM, RELATIVE_TOLERANCE * min(self.spacing))
        return bool(
            np.abs(np.array(plane.position) - position).max() <= tolerance
            and np.allclose(plane.orientation, self.orientation, atol=1e-4)
        )

    def first(self, count: int) -> Self:
        """Return only the first `count` planes."""
        return replace(self, positions=self.positions[:count], sources=self.sources[:count])

    def stand_in(self, header: Dataset) -> Dataset:
        """Give a clean source header a geometry in which highdicom finds none of these planes.

        highdicom would otherwise match frames with a source of one slice; the matches are ours to make.
        """
        along, down = self.orientation[:3], self.orientation[3:]
        header.ImageOrientationPatient = _ds([*along, *np.cross(along, down)])
        header.ImagePositionPatient = _ds(self.positions[0])
        header.PixelSpacing = _ds(self.spacing)
        header.SliceThickness, header.SpacingBetweenSlices = _ds([self.thickness, self.slice_spacing])
        header.Rows, header.Columns = self.size
        return header

    def measures(self) -> hd.PixelMeasuresSequence:
        """Return the Pixel Measures functional group."""
        return hd.PixelMeasuresSequence(
            pixel_spacing=self.spacing, slice_thickness=self.thickness, spacing_between_slices=self.slice_spacing
        )

    def orientation_sequence(self) -> hd.PlaneOrientationSequence:
        """Return the Plane Orientation functional group."""
        return hd.PlaneOrientationSequence("PATIENT", [float(value) for value in self.orientation])

    def position_sequences(self) -> list[hd.PlanePositionSequence]:
        """Return the Plane Position functional group of each plane."""
        return [hd.PlanePositionSequence("PATIENT", [float(value) for value in row]) for row in self.positions]

    def add_derivation(self, dataset: Dataset, derivation: Code) -> None:
        """Refer, in each frame of `dataset`, to the source slice that lies in its plane."""
        by_position = {
            tuple(_ds(row)): [self._derivation(plane, derivation)] if plane is not None else []
            for row, plane in zip(self.positions, self.sources, strict=True)
        }
        for group in dataset.PerFrameFunctionalGroupsSequence:
            position = group.PlanePositionSequence[0].ImagePositionPatient
            group.DerivationImageSequence = by_position[tuple(str(value) for value in position)]

    def _derivation(self, plane: slices.Plane, derivation: Code) -> Dataset:
        item = slices.reference(plane, frames=() if plane.frame is None else (plane.frame,))
        item.add(DataElement(0x0040A170, "SQ", [PURPOSE]))  # PurposeOfReferenceCodeSequence
        item.SpatialLocationsPreserved = "YES" if self.same_pixels else "NO"
        derived = Dataset()
        derived.DerivationCodeSequence = [hd.sr.CodedConcept.from_code(derivation)]
        derived.SourceImageSequence = [item]
        return derived


def _ds(values: Any) -> list[str]:
    return [format_number_as_ds(float(value)) for value in values]
