"""Radiographs: make DICOM objects of pictures, and read planar images in real units."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from pydicom import Dataset
from pydicom.uid import ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation

from claimed_med.dicom.equipment import MANUFACTURER, maker
from claimed_med.dicom.header import quiet, text
from claimed_med.dicom.pixels import read_stored, real_values
from claimed_med.dicom.uid import set_file_meta, uid_from
from claimed_med.errors import InputError
from claimed_med.payload import sha256_of

if TYPE_CHECKING:
    from claimed_med.dicom.series import Series

OLDEST = 120
_SEXES = {"M": "M", "MALE": "M", "F": "F", "FEMALE": "F", "O": "O", "OTHER": "O"}
_VIEWS = {"PA": "PA", "AP": "AP", "AP SUPINE": "AP", "AP ERECT": "AP", "L": "LATERAL", "LL": "LL", "LATERAL": "LATERAL"}


@dataclass(frozen=True)
class Facts:
    """What a table says of one picture; what is missing is '' or NaN.

    Attributes:
        patient_id: As in the table.
        age: [year].
        sex: `M`, `F`, `O` or ''.
        view: View position.
        spacing_mm: Row and column spacing at the detector [mm]; 0 when unknown.
    """

    patient_id: str
    age: float = math.nan
    sex: str = ""
    view: str = ""
    spacing_mm: float = 0.0


def read_picture(content: bytes) -> npt.NDArray[Any]:
    """The grey values of a PNG or JPEG file.

    Args:
        content: The file.

    Returns:
        uint8 or uint16 of shape (row, column).

    Raises:
        InputError: Not a picture, a damaged one, several frames, or one in colour.
    """
    try:
        with Image.open(io.BytesIO(content)) as opened:
            if getattr(opened, "n_frames", 1) != 1:
                raise InputError(
                    "x-ray", "the picture has several frames", got=getattr(opened, "n_frames", 1), allowed="1"
                )
            opened.load()
            return _grey(opened)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError):
        raise InputError("x-ray", "the file is no readable picture", allowed="PNG or JPEG") from None


def encode(grey: npt.NDArray[Any], facts: Facts, *, digest: str, sop_class: str) -> Dataset:
    """A radiograph as DICOM object, in a study and series of its own.

    Args:
        grey: uint8 or uint16 of shape (row, column), bright = dense.
        facts: Of the picture.
        digest: sha256 of the picture's file: decides the UIDs.
        sop_class: `cr` (Computed Radiography) or `dx` (Digital X-Ray, for presentation; needs the spacing).

    Returns:
        A valid, complete object.

    Raises:
        InputError: `dx` without spacing, which that object requires.
    """
    if sop_class == "dx" and facts.spacing_mm <= 0:
        raise InputError("x-ray", "a DX object needs the detector's spacing", do="set --spacing-mm, or --sop-class cr")
    made = Dataset()
    made.SOPClassUID = DigitalXRayImageStorageForPresentation if sop_class == "dx" else ComputedRadiographyImageStorage
    made.SOPInstanceUID = uid_from("x-ray", digest, sop_class, "instance")
    made.SeriesInstanceUID = uid_from("x-ray", digest, sop_class, "series")
    made.StudyInstanceUID = uid_from("x-ray", digest, sop_class, "study")
    _fill_patient_and_study(made, facts)
    _fill_image(made, grey, facts)
    if sop_class == "dx":
        _fill_digital(made)
    else:
        made.Modality = "CR"
        made.PatientOrientation = ["L", "F"]
    set_file_meta(made)
    return made


def planar_pixels(series: Series) -> tuple[npt.NDArray[np.float32], tuple[float, float]]:
    """The pixels of one planar image, bright = dense.

    Args:
        series: One image, with or without a place in space.

    Returns:
        float32 of shape (row, column) in modality units (MONOCHROME1 is turned round); spacing of rows and columns
        [mm], 1 where the header does not tell.

    Raises:
        InputError: Several images, colour, or damaged pixel data.
    """
    header = series.headers[0]
    if len(series.slices) != 1:
        raise InputError("x-ray", "not one planar image", got=f"{len(series.slices)} images", allowed="1")
    fatal = [one for one in series.extra if one.fatal]
    if fatal:
        raise InputError("x-ray", fatal[0].text, findings=fatal)
    with quiet():
        values = np.asarray(real_values(read_stored(series.slices), series.slices, lookup=True)[0], dtype=np.float32)
    if text(header, "PhotometricInterpretation") == "MONOCHROME1":
        values = values.max() + values.min() - values
    return values, spacing_of(header)


def _grey(opened: Image.Image) -> npt.NDArray[Any]:
    if opened.mode in {"I;16", "I;16B", "I"}:
        values = np.asarray(opened)
        if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
            raise InputError("x-ray", "grey values do not fit into 16 bits")
        return values.astype(np.uint16)
    if opened.mode in {"1", "L", "LA"}:
        return np.asarray(opened.convert("L"))
    channels = np.asarray(opened.convert("RGB"))
    if (channels != channels[..., :1]).any():
        raise InputError("x-ray", "the picture is in colour", allowed="grey values", do="leave it out")
    return np.ascontiguousarray(channels[..., 0])


def _fill_patient_and_study(made: Dataset, facts: Facts) -> None:
    made.PatientName = ""
    made.PatientID = facts.patient_id[:64]
    made.PatientBirthDate = ""
    made.PatientSex = _SEXES.get(facts.sex.strip().upper(), "")
    if 0 <= facts.age <= OLDEST:
        made.PatientAge = f"{int(facts.age):03d}Y"
    made.StudyDate = made.StudyTime = made.AccessionNumber = made.StudyID = made.ReferringPhysicianName = ""
    made.SeriesNumber = made.InstanceNumber = 1
    made.BodyPartExamined = "CHEST"
    made.ViewPosition = _VIEWS.get(facts.view.strip().upper(), "")


def _fill_image(made: Dataset, grey: npt.NDArray[Any], facts: Facts) -> None:
    made_by = maker()
    made.Manufacturer = MANUFACTURER
    made.ManufacturerModelName, made.SoftwareVersions = made_by.name, made_by.version
    made.ImageType = ["DERIVED", "SECONDARY"]  # a picture is no detector data any more
    made.Rows, made.Columns = grey.shape
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME2", 0
    made.BitsAllocated = made.BitsStored = grey.dtype.itemsize * 8
    made.HighBit = made.BitsStored - 1
    made.ContentDate = made.ContentTime = ""
    made.BurnedInAnnotation = "NO"
    made.LossyImageCompression = "00"
    if facts.spacing_mm > 0:
        made.ImagerPixelSpacing = [f"{facts.spacing_mm:.8g}"] * 2
    data = np.ascontiguousarray(grey).tobytes()
    made.PixelData = data + b"\0" * (len(data) % 2)
    made["PixelData"].VR = "OW" if made.BitsAllocated > 8 else "OB"


def _fill_digital(made: Dataset) -> None:
    made.Modality = "DX"
    made.PresentationIntentType = "FOR PRESENTATION"
    made.ImageLaterality = "U"
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "51185008", "SCT", "Chest"
    made.AnatomicRegionSequence = [region]
    made.PatientOrientation = ["L", "F"]
    made.PixelIntensityRelationship, made.PixelIntensityRelationshipSign = "LOG", -1
    made.PositionerType = ""
    made.RescaleIntercept, made.RescaleSlope, made.RescaleType = "0", "1", "US"
    made.PresentationLUTShape = "IDENTITY"
    made.DetectorType = ""
    made.AcquisitionContextSequence = []
    made.WindowCenter = str(2 ** (made.BitsStored - 1))
    made.WindowWidth = str(2**made.BitsStored)


def spacing_of(header: Dataset) -> tuple[float, float]:
    """Spacing of rows and columns [mm]; 1 where the header does not tell."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        try:
            row, column = (float(one) for one in text(header, keyword).split("\\"))
        except ValueError:
            continue
        if row > 0 and column > 0:
            return row, column
    return 1.0, 1.0


def import_pictures(
    files: dict[str, bytes], facts: dict[str, Facts], sop_class: str
) -> tuple[dict[str, Dataset], dict[str, str]]:
    """Encode every picture that the table knows; nothing is left out silently.

    Args:
        files: File name -> content.
        facts: File name -> what the table says.
        sop_class: `cr` or `dx`.

    Returns:
        File name -> object; sha256 (12 hex) of what was left out -> reason.
    """
    made: dict[str, Dataset] = {}
    left: dict[str, str] = {}
    seen: set[str] = set()
    for name in sorted(files):
        digest = sha256_of(files[name])
        if name not in facts:
            left[digest[:12]] = "no row of the table names it"
        elif digest in seen:
            left[digest[:12]] = "another file holds the same bytes"
        else:
            try:
                made[name] = encode(read_picture(files[name]), facts[name], digest=digest, sop_class=sop_class)
                seen.add(digest)
            except InputError as error:
                left[digest[:12]] = error.what
    return made, left
