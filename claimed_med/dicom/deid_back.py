"""Give de-identified objects, and what was made from them, their patient back: for those who hold the link table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claimed_med.dicom.pseudonyms import shifted
from claimed_med.dicom.uid import to_bytes
from claimed_med.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom import DataElement, Dataset

    from claimed_med.dicom.deid_links import Links

_SHOWN = ("PatientID", "PatientName", "PatientBirthDate")


def reidentified(dataset: Dataset, links: Links) -> tuple[str, bytes]:
    """Its SOPInstanceUID and the bytes of a file with the old identity.

    UIDs, PatientID, PatientName and PatientBirthDate are those of the originals; dates that were moved move back. What
    de-identification removed stays away.

    Args:
        dataset: A de-identified object, or one that was made from such; changed in place.
        links: From the link table.

    Raises:
        InputError: The table does not know the patient.
    """
    known = links.patients.get(str(dataset.get("PatientID", "")))
    if known is None:
        raise InputError("re-identification", "the link table does not know the patient of an object")
    moved = int(known["shift_days"]) if dataset.get("LongitudinalTemporalInformationModified") == "MODIFIED" else 0
    for element in _elements(dataset):
        _give_back(element, links, moved)
    if any(not str(known[keyword]).isascii() for keyword in _SHOWN):
        dataset.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _SHOWN:
        setattr(dataset, keyword, known[keyword])
    for keyword in ("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"):
        if keyword in dataset:
            delattr(dataset, keyword)
    if "LongitudinalTemporalInformationModified" in dataset:
        dataset.LongitudinalTemporalInformationModified = "UNMODIFIED"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return str(dataset.SOPInstanceUID), to_bytes(dataset)


def _elements(dataset: Dataset) -> Iterator[DataElement]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _elements(item)
        elif element.VR in {"UI", "DA", "DT"}:
            yield element


def _give_back(element: DataElement, links: Links, n_days: int) -> None:
    several = element.VM > 1
    values: list[Any] = [str(one) for one in element.value] if several else [str(element.value or "")]
    if element.VR == "UI":
        values = [links.uids.get(one, one) for one in values]
    elif n_days:
        values = [shifted(one, -n_days) for one in values]
    element.value = values if several else values[0]
