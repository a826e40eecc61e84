"""Write a volume as a derived image series (CT, MR or PET slices; other modalities as Secondary Capture)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import highdicom as hd
import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
)
from pydicom.valuerep import format_number_as_ds

from claimed_med.dicom import slices
from claimed_med.dicom import source as origin
from claimed_med.dicom.equipment import common_arguments, contribution, maker
from claimed_med.dicom.technique import technique
from claimed_med.dicom.uid import stamp, uid_from
from claimed_med.errors import ContractError

if TYPE_CHECKING:
    import numpy.typing as npt

    from claimed_med.dicom.series import Series

SERIES_NUMBER = 9400
LONGEST_DESCRIPTION = 64
SOP_CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage, "PT": PositronEmissionTomographyImageStorage}
WIDE_ENOUGH = 1000.0
# A slice across a whole series would name all of it, hundreds of times over: 300 x 512 items took 20 s to write.
MOST_REFERENCES = 64
INT16, UINT16 = np.iinfo(np.int16), np.iinfo(np.uint16)


@dataclass(frozen=True)
class Stored:
    """Pixels as they are stored: real value = slope * stored + intercept.

    Attributes:
        pixels: Shape (slice, row, column), int16 or uint16.
        slope: RescaleSlope as it is written.
        intercept: RescaleIntercept as it is written.
    """

    pixels: npt.NDArray[Any]
    slope: str
    intercept: str


def encode(volume: hd.Volume, *, source: Series, description: str) -> list[Dataset]:
    """Encode a volume as single-frame slices of the source's modality on the volume's own grid.

    Values are stored as they are when they are integers of 16 bits. Else CT and PET are scaled to 16 bits
    (PET through zero); MR, whose legacy object has no rescale, is rounded where its range exceeds 1000.
    Attributes of the technique are the source's where all its slices agree.

    Args:
        volume: Shape (slice, row, column), real units of the source (HU, ...); affine index -> LPS [mm].
        source: The series that the volume was derived from.
        description: What was done, at most 64 characters; series and derivation description.

    Returns:
        images: One data set a slice, along the slice axis; DERIVED, with references to the source instances
            that touch the slice (64 evenly spaced ones, first and last included, where they are more).

    Raises:
        ContractError: Not three axes, values that are not finite, or a longer description.
    """
    array = np.asarray(volume.array)
    if array.ndim != 3 or not np.isfinite(array).all():
        allowed = "finite values on three axes (slice, row, column)"
        raise ContractError("image.encode", "volume cannot be stored", got=array.shape, allowed=allowed)
    if not 0 < len(description) <= LONGEST_DESCRIPTION:
        raise ContractError("image.encode", "description has the wrong length", got=len(description), allowed="1-64")
    affine = np.asarray(volume.affine, dtype=np.float64)
    modality = str(source.headers[0].get("Modality") or "OT")
    stored = _store(array, modality)
    template = _template(source, modality, affine, stored, description)
    touching = _Touching(source, affine, array.shape)
    images = [_slice(template, stored, affine, index, touching.references(index)) for index in range(array.shape[0])]
    made_by = maker()
    stamp(images, seed=f"image\n{made_by.name}\n{made_by.version}\n{source.key}\n{description}")
    return images


def _store(array: npt.NDArray[Any], modality: str) -> Stored:
    low, high = float(array.min()), float(array.max())
    integral = array.dtype.kind in "iub" or bool((array == np.rint(array)).all())
    if not integral and modality == "MR" and high - low >= WIDE_ENOUGH:
        array, integral = np.rint(array), True
        low, high = float(array.min()), float(array.max())
    if integral:
        for limits in (INT16, UINT16):
            if limits.min <= low and high <= limits.max:
                return Stored(array.astype(limits.dtype), "1", "0")
    if modality == "PT":
        intercept, span, limits = "0", max(abs(low), abs(high)) / (INT16.max - 1), INT16
    else:
        intercept, span, limits = format_number_as_ds(low), (high - low) / (UINT16.max - 1), UINT16
    slope = format_number_as_ds(span or 1.0)
    pixels = np.rint((array.astype(np.float64) - float(intercept)) / float(slope))
    return Stored(pixels.clip(limits.min, limits.max).astype(limits.dtype), slope, intercept)


def _template(
    source: Series, modality: str, affine: npt.NDArray[np.float64], stored: Stored, description: str
) -> Dataset:
    """Return everything that all slices share."""
    made_by = maker()
    sop_class = SOP_CLASSES.get(modality, SecondaryCaptureImageStorage)
    header = origin.clean_header(source)
    image = technique(source, sop_class)
    for element in header:
        if element.keyword not in image and element.keyword != "Laterality":
            image.add(element)
    acquisition = [item for item in _acquisition(header) if item is not None]
    for keyword in ("SoftwareVersions", "DeviceSerialNumber", "InstitutionName", "StationName"):
        image.pop(keyword, None)
    image.ContributingEquipmentSequence = [*acquisition, contribution(made_by)]
    for argument, value in common_arguments(made_by).items():
        setattr(image, "".join(word.capitalize() for word in argument.split("_")), value)
    seed = ("image", made_by.name, made_by.version, source.key, description)
    image.SOPClassUID, image.SeriesInstanceUID = sop_class, uid_from(*seed)
    image.SeriesNumber, image.SeriesDescription, image.DerivationDescription = SERIES_NUMBER, description, description
    image.ContentDate, image.ContentTime = origin.content_clock(source)
    image.ImageType = _image_type(source, modality)
    if sop_class == PositronEmissionTomographyImageStorage:  # decay is counted from the start of the series
        for keyword, fallback in (("SeriesDate", image.ContentDate), ("SeriesTime", image.ContentTime)):
            theirs = origin.clean_element(source.headers[0], keyword)
            setattr(image, keyword, theirs.value if theirs is not None and theirs.value else fallback)
    _set_geometry(image, affine, stored.pixels.shape)
    _set_pixel_description(image, stored, sop_class)
    del image.SOPInstanceUID
    return image


def _acquisition(header: Dataset) -> list[hd.ContributingEquipment | None]:
    try:
        return [hd.ContributingEquipment.for_image_acquisition(header)]
    except (AttributeError, ValueError, TypeError):
        return []


def _image_type(source: Series, modality: str) -> list[str]:
    element = origin.clean_element(source.headers[0], "ImageType")
    values = [] if element is None or isinstance(element.value, str) else list(element.value)
    third = "AXIAL" if modality == "CT" else (values[2] if len(values) > 2 and values[2] else "OTHER")
    # PS3.3 C.8.9.4.1.1: value 2 of a PET image is PRIMARY, derived or not.
    return ["DERIVED", "PRIMARY" if modality == "PT" else "SECONDARY", third]


def _set_geometry(image: Dataset, affine: npt.NDArray[np.float64], shape: tuple[int, ...]) -> None:
    along, down = affine[:3, 2], affine[:3, 1]
    spacing = (float(np.linalg.norm(down)), float(np.linalg.norm(along)))
    between = format_number_as_ds(float(np.linalg.norm(affine[:3, 0])))
    image.ImageOrientationPatient = _ds([*(along / spacing[1]), *(down / spacing[0])])
    image.PixelSpacing = _ds(spacing)
    image.SliceThickness = image.SpacingBetweenSlices = between
    image.Rows, image.Columns = shape[1], shape[2]
    if image.SOPClassUID == PositronEmissionTomographyImageStorage:
        image.NumberOfSlices = shape[0]
        del image.SpacingBetweenSlices


def _set_pixel_description(image: Dataset, stored: Stored, sop_class: str) -> None:
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.PixelRepresentation = int(stored.pixels.dtype == np.int16)
    if sop_class != MRImageStorage or (stored.slope, stored.intercept) != ("1", "0"):
        image.RescaleSlope, image.RescaleIntercept = stored.slope, stored.intercept
        if sop_class == CTImageStorage:
            image.RescaleType = "HU"
    if sop_class == SecondaryCaptureImageStorage:
        image.ConversionType = "WSD"
        image.RescaleType = "US"


class _Touching:
    """Finds the source instances that a slice of the new grid touches."""

    def __init__(self, source: Series, affine: npt.NDArray[np.float64], shape: tuple[int, ...]) -> None:
        self._affine = affine
        self._corners = np.array([[0, r, c, 1.0] for r in (0, shape[1] - 1) for c in (0, shape[2] - 1)])
        planes = slices.source_planes(source)
        placed = [plane for plane in planes if plane.position is not None and plane.orientation is not None]
        self._groups = slices.instances(placed if len(placed) == len(planes) else ())
        self._everything = [_item(found) for found in slices.instances(planes).values()]
        if self._groups:
            orientation = placed[0].orientation or ()
            self._normal = np.cross(orientation[:3], orientation[3:])
            heights = [np.dot(plane.position or (), self._normal) for plane in placed]
            ordered = np.unique(np.round(heights, 3))
            self._gap = float(np.diff(ordered).max()) if len(ordered) > 1 else 0.0
            self._heights = dict(zip(placed, heights, strict=True))

    def references(self, index: int) -> list[Dataset]:
        """Return one Source Image item for each instance whose plane the slice cuts or neighbours."""
        if not self._groups:
            return _thinned(self._everything)
        corners = self._corners + np.array([index, 0, 0, 0])
        heights = (corners @ self._affine.T)[:, :3] @ self._normal
        low, high = heights.min() - self._gap * 1.01 - 0.01, heights.max() + self._gap * 1.01 + 0.01
        found = []
        for group in self._groups.values():
            inside = [plane for plane in group if low <= self._heights[plane] <= high]
            if inside:
                found.append(_item(inside))
        return _thinned(found or self._everything)


def _thinned(items: list[Dataset]) -> list[Dataset]:
    if len(items) <= MOST_REFERENCES:
        return items
    return [items[int(i)] for i in np.linspace(0, len(items) - 1, MOST_REFERENCES).round()]


def _item(planes: list[slices.Plane]) -> Dataset:
    return slices.reference(planes[0], frames=[plane.frame for plane in planes if plane.frame is not None])


def _slice(
    template: Dataset, stored: Stored, affine: npt.NDArray[np.float64], index: int, references: list[Dataset]
) -> Dataset:
    image = Dataset()
    image.update(template)
    image.add_new("SeriesInstanceUID", "UI", template.SeriesInstanceUID)  # the elements themselves are shared
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPInstanceUID = uid_from(str(template.SeriesInstanceUID), str(index))
    image.InstanceNumber = index + 1
    if template.SOPClassUID == PositronEmissionTomographyImageStorage:
        image.ImageIndex = index + 1
    image.ImagePositionPatient = _ds(affine[:3, 3] + index * affine[:3, 0])
    image.SourceImageSequence = references
    image.PixelData = stored.pixels[index].astype(stored.pixels.dtype.newbyteorder("<"), copy=False).tobytes()
    if len(image.PixelData) % 2:
        image.PixelData += b"\0"
    image["PixelData"].VR = "OW"
    return image


def _ds(values: Any) -> list[str]:
    return [format_number_as_ds(float(value)) for value in values]
