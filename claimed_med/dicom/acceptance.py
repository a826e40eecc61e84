"""Whether derived objects may go out: valid, in the study of their source, and referring to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claimed_med.dicom.validate import errors, new_errors, validate
from claimed_med.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydicom import Dataset

    from claimed_med.dicom.series import Series

_SAMPLE = 3


def accept(source: Series, objects: Mapping[str, Dataset]) -> dict[str, Any]:
    """Check every object.

    Args:
        source: The series from which all were made.
        objects: Name -> object.

    Returns:
        Name -> SOP class, number of errors inherited from the source.

    Raises:
        OutputError: Some object is not fit; all reasons at once.
    """
    files = source.files
    sample = [files[index] for index in sorted({0, len(files) // 2, len(files) - 1})][:_SAMPLE]
    faults: list[str] = []
    report: dict[str, Any] = {}
    for name, dataset in objects.items():
        new = new_errors(dataset, sample)
        faults += [f"{name}: {problem.text}" for problem in new]
        faults += [f"{name}: {fault}" for fault in _belonging(source, dataset)]
        told = errors(validate(dataset))
        report[name] = {
            "sop_class_uid": str(dataset.SOPClassUID),
            "sop_instance_uid": str(dataset.SOPInstanceUID),
            "n_new_errors": len(new),
            "n_inherited_errors": len(told) - len(new),
        }
    if faults:
        raise OutputError(
            "validate-objects", "; ".join(faults), do="report this as a defect of the component that made it"
        )
    return {"objects": report}


def _belonging(source: Series, dataset: Dataset) -> list[str]:
    header = source.headers[0]
    faults = []
    if header.get("StudyInstanceUID") and dataset.StudyInstanceUID != header.StudyInstanceUID:
        faults.append("it lies in another study than its source")
    known = {instance.sop_uid for instance in source.instances if instance.sop_uid}
    if known and not known & set(_referenced(dataset)):
        faults.append("it does not refer to its source")
    return faults


def _referenced(dataset: Dataset) -> list[str]:
    found = []
    for element in dataset:
        if element.keyword == "ReferencedSOPInstanceUID":
            found.append(str(element.value))
        elif element.VR == "SQ":
            for item in element.value:
                found += _referenced(item)
    return found
