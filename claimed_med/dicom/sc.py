"""Write pictures as Secondary Capture images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import highdicom as hd
import numpy as np

from claimed_med.dicom import slices
from claimed_med.dicom import source as origin
from claimed_med.dicom.equipment import common_arguments, contribution, maker
from claimed_med.dicom.uid import stamp, uid_from
from claimed_med.errors import ContractError

if TYPE_CHECKING:
    import numpy.typing as npt
    from pydicom import Dataset

    from claimed_med.dicom.series import Series

SERIES_NUMBER = 9200
LONGEST_DESCRIPTION = 64


def encode(frames: npt.NDArray[np.uint8], *, source: Series, description: str) -> list[Dataset]:
    """Encode colour pictures as single-frame Secondary Capture images of the source's study.

    Args:
        frames: Shape (n, row, column, 3) or (row, column, 3), uint8 sRGB.
        source: The series that the pictures show.
        description: Series description, at most 64 characters; no patient attribute.

    Returns:
        captures: One object a picture, one series; each refers to every source instance.

    Raises:
        ContractError: Another shape or type.
    """
    pictures = frames[None] if frames.ndim == 3 else frames
    if pictures.ndim != 4 or pictures.shape[3] != 3 or pictures.dtype != np.uint8:
        got = f"{frames.dtype} {frames.shape}"
        raise ContractError("sc.encode", "pictures have the wrong form", got=got, allowed="uint8 (n, row, column, 3)")
    if len(description) > LONGEST_DESCRIPTION:
        raise ContractError("sc.encode", "description is too long", got=len(description), allowed="64 characters")
    header = origin.clean_header(source)
    with origin.anonymous(header) as made:
        for number, picture in enumerate(pictures, 1):
            made.append(_capture(picture, number, header, source, description))
    captures = list(made)
    stamp(captures, seed="\n".join(_seed(source, description)))
    return captures


def _seed(source: Series, description: str) -> tuple[str, ...]:
    made_by = maker()
    return "sc", made_by.name, made_by.version, source.key, description


def _capture(picture: npt.NDArray[np.uint8], number: int, header: Dataset, source: Series, description: str) -> Dataset:
    made_by = maker()
    seed = _seed(source, description)
    date, time = origin.content_clock(source)
    capture = hd.sc.SCImage(
        pixel_array=np.ascontiguousarray(picture),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=header.StudyInstanceUID,
        series_instance_uid=uid_from(*seed),
        sop_instance_uid=uid_from(*seed, str(number)),
        series_number=SERIES_NUMBER,
        instance_number=number,
        patient_orientation=("L", "P"),
        patient_id=header.PatientID,
        patient_birth_date=header.PatientBirthDate or None,
        patient_sex=header.PatientSex or None,
        accession_number=header.AccessionNumber,
        study_id=header.StudyID,
        study_date=header.StudyDate or None,
        study_time=header.StudyTime or None,
        specific_character_set=header.get("SpecificCharacterSet"),
        series_description=description,
        content_date=date,
        content_time=time,
        contributing_equipment=[contribution(made_by)],
        **common_arguments(made_by),
    )
    capture.copy_patient_and_study_information(header)
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.add_new("PatientOrientation", "CS", "")  # a picture is not a plane of the patient
    del capture.DateOfSecondaryCapture, capture.TimeOfSecondaryCapture
    capture.Laterality = ""
    capture.BurnedInAnnotation = "NO"
    slices.add_references(capture, slices.source_planes(source))
    del capture.ReferencedSeriesSequence  # Secondary Capture has no Common Instance Reference module
    capture.DerivationDescription = description
    return capture
