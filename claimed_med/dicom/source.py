"""What a derived object takes over from its source: patient, study, equipment and time.

Real headers hold blank character sets, impossible dates and over-long strings, and highdicom refuses them.
A derived object therefore inherits from a *clean copy*: text decoded once and written as UTF-8 where it is
not ASCII, invalid values left out (emptied where the attribute is type 2), identifiers never altered.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from highdicom._standard_utils import get_iod_module_map, get_module_attribute_map, get_sop_class_iod_map
from pydicom import Dataset
from pydicom.config import RAISE
from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    NuclearMedicineImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
)
from pydicom.valuerep import validate_value

from claimed_med.dicom.uid import uid_from

if TYPE_CHECKING:
    from claimed_med.dicom.series import Series

UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, NotImplementedError, OverflowError, IndexError)
TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "StudyID",
    "ReferringPhysicianName",
    "Manufacturer",
)
# Emptied or shortened identifiers would file the object under another patient: kept as they came.
IDENTIFIERS = frozenset({"PatientID", "PatientName", "IssuerOfPatientID", "AccessionNumber", "StudyID"})
EQUIPMENT = (
    "Manufacturer",
    "ManufacturerModelName",
    "SoftwareVersions",
    "DeviceSerialNumber",
    "InstitutionName",
    "StationName",
)
SERIES = ("Modality", "BodyPartExamined", "Laterality", "PatientPosition", "PositionReferenceIndicator")
LONGEST_UID = 64
SOP_CLASS_OF_MODALITY = {
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "PT": PositronEmissionTomographyImageStorage,
    "NM": NuclearMedicineImageStorage,
    "US": UltrasoundImageStorage,
}
CLOCKS = (
    ("ContentDate", "ContentTime"),
    ("AcquisitionDate", "AcquisitionTime"),
    ("SeriesDate", "SeriesTime"),
    ("StudyDate", "StudyTime"),
)
NO_CLOCK = ("19700101", "000000")


def clean_header(series: Series) -> Dataset:
    """Return the patient, study, equipment and series attributes of `series` as a valid, small data set.

    The result stands in for the source images in highdicom's constructors: one single-frame image with the
    source's rows and columns. It never carries geometry, which the encoders give explicitly.

    Args:
        series: The source; only its headers are read.

    Returns:
        header: Text in Unicode; SpecificCharacterSet is `ISO_IR 192` exactly when some text is not ASCII.
    """
    first = series.headers[0]
    header = Dataset()
    for keyword in (*_patient_and_study_keywords(), *EQUIPMENT, *SERIES):
        element = clean_element(first, keyword)
        if element is not None:
            header.add(element)
    for keyword in TYPE_2:
        if keyword not in header:
            setattr(header, keyword, "")
    if header.PatientSex not in {"", "M", "F", "O"}:
        header.PatientSex = ""
    header.StudyInstanceUID = study_uid(series)
    header.SeriesInstanceUID = source_series_uid(series)
    header.SOPClassUID = CTImageStorage  # only tells highdicom which modules to copy
    header.SOPInstanceUID = valid_uid(first.get("SOPInstanceUID"), "instance", series.key, "0")
    header.FrameOfReferenceUID = frame_of_reference_uid(series)
    header.Modality = header.get("Modality") or "OT"
    header.Rows, header.Columns = _size(first)
    if not _is_ascii(header):
        header.SpecificCharacterSet = "ISO_IR 192"
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return header


@contextmanager
def anonymous(header: Dataset) -> Iterator[list[Dataset]]:
    """Hide the patient's name while highdicom constructs an object: it prints names that it does not like.

    Append what was constructed to the list; on leaving, each gets the name of `header`.
    """
    made: list[Dataset] = []
    name = header.PatientName
    header.PatientName = None
    try:
        yield made
    finally:
        header.PatientName = name
    for dataset in made:
        dataset.PatientName = name


def clean_element(header: Dataset, keyword: str) -> DataElement | None:
    """Return a decoded, valid copy of one element, or None where there is none to be had.

    Sequences are copied only when everything inside them is valid.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _clean(header[keyword]) if keyword in header else None
    except UNREADABLE:
        return None


def _clean(element: DataElement) -> DataElement | None:
    keyword, vr = element.keyword, element.VR
    if vr == "SQ":
        return _clean_sequence(element)
    if dictionary_VR(element.tag).find(vr) < 0:
        return None
    values = [_plain(value) for value in _as_list(element.value)]
    if not any(value not in {"", None} for value in values):
        return DataElement(element.tag, vr, "" if vr != "SQ" else [])
    if dictionary_VM(element.tag) == "1" and len(values) > 1 and keyword not in IDENTIFIERS:
        return None
    if keyword not in IDENTIFIERS:
        for value in values:
            validate_value(vr, value, RAISE)
    return DataElement(element.tag, vr, values[0] if len(values) == 1 else values)


def _clean_sequence(element: DataElement) -> DataElement | None:
    items = []
    for item in element.value:
        fresh = Dataset()
        for inner in item:
            if inner.tag.is_private or not keyword_for_tag(inner.tag):
                continue
            copied = _clean(inner)
            if copied is None:
                return None
            fresh.add(copied)
        items.append(fresh)
    return DataElement(element.tag, "SQ", items) if items else None


def _as_list(value: Any) -> list[Any]:
    if isinstance(value, str | bytes) or value is None:
        return [value]
    if isinstance(value, Iterable) and not hasattr(value, "components"):
        return list(value)
    return [value]


def _plain(value: Any) -> Any:
    """Decode a value to a plain string or number, without the padding that some writers leave."""
    if value is None or (isinstance(value, int | float) and not hasattr(value, "original_string")):
        return value
    return str(value).strip("\0 ")


def _is_ascii(dataset: Dataset) -> bool:
    for element in dataset:
        if element.VR == "SQ":
            if not all(_is_ascii(item) for item in element.value):
                return False
        elif not str(element.value).isascii():
            return False
    return True


@cache
def _patient_and_study_keywords() -> tuple[str, ...]:
    modules = get_iod_module_map()[get_sop_class_iod_map()[CTImageStorage]]
    attributes = get_module_attribute_map()
    return tuple(
        str(attribute["keyword"])
        for module in modules
        if module["ie"] in {"Patient", "Study"}
        for attribute in attributes[module["key"]]
        if not attribute["path"] and attribute["keyword"] != "StudyInstanceUID"
    )


def _size(header: Dataset) -> tuple[int, int]:
    return whole(header, "Rows"), whole(header, "Columns")


def whole(header: Dataset, keyword: str) -> int:
    """Return a count from a header, 1 where it is missing or no number."""
    try:
        return int(header.get(keyword) or 1)
    except UNREADABLE:
        return 1


def valid_uid(value: object, *fallback: str) -> str:
    """Return `value` when a UID field can carry it, else a UID made from `value` or from `fallback`."""
    text = str(value or "").strip("\0 ")
    if text and len(text) <= LONGEST_UID and set(text) <= set("0123456789."):
        return text
    return uid_from(text) if text else uid_from(*fallback)


def study_uid(series: Series) -> str:
    """Return the study's UID, made from the series key where the files have none."""
    return valid_uid(series.headers[0].get("StudyInstanceUID"), "study", series.key)


def source_series_uid(series: Series) -> str:
    """Return the source's SeriesInstanceUID, made from the series key where the files have none."""
    return valid_uid(series.headers[0].get("SeriesInstanceUID"), "series", series.key)


def frame_of_reference_uid(series: Series) -> str:
    """Return the frame of reference; a source without one is its own frame of reference."""
    uid = series.headers[0].get("FrameOfReferenceUID")
    return valid_uid(uid, "frame of reference", source_series_uid(series))


def sop_class_uid(header: Dataset) -> str:
    """Return the SOP class of a source file; where it is blank, the one that its modality implies."""
    uid = str(header.get("SOPClassUID") or "").strip("\0 ")
    return uid or str(SOP_CLASS_OF_MODALITY.get(str(header.get("Modality")), SecondaryCaptureImageStorage))


def content_clock(series: Series) -> tuple[str, str]:
    """Return the ContentDate and ContentTime of objects derived from `series`.

    `SOURCE_DATE_EPOCH` if set, else the latest content, acquisition, series or study date-time of the
    source, else 1970-01-01.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch:
        moment = datetime.fromtimestamp(int(epoch), tz=UTC)
        return f"{moment:%Y%m%d}", f"{moment:%H%M%S}"
    return max((pair for header in series.headers for pair in _clocks(header)), default=NO_CLOCK)


def _clocks(header: Dataset) -> Iterator[tuple[str, str]]:
    for date_keyword, time_keyword in CLOCKS:
        date = clean_element(header, date_keyword)
        if date is None or not date.value:
            continue
        time = clean_element(header, time_keyword)
        text = str(time.value) if time is not None and time.value else "000000"
        whole, _, fraction = text.partition(".")
        yield str(date.value), whole.ljust(6, "0") + (f".{fraction}" if fraction else "")
