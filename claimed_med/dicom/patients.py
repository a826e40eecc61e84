"""Which DICOM objects of a folder belong to which patient; of each file only the header is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claimed_med.dicom import elements
from claimed_med.dicom.deid_gather import look_at_file
from claimed_med.dicom.finding import Finding
from claimed_med.errors import InputError
from claimed_med.payload import LINEAGE, UNITS, VOLUME, files_below

if TYPE_CHECKING:
    from pathlib import Path

_LISTS = {LINEAGE, UNITS, VOLUME}


def by_patient(path: Path) -> tuple[list[tuple[list[Path], list[str]]], list[tuple[Path, Finding]]]:
    """Group the DICOM objects of a folder, any tree, by patient.

    Args:
        path: Folder or file.

    Returns:
        For each patient the files and their SOPInstanceUIDs, in the order of their names; and the files that hold no
        object, with the finding.
    """
    groups: dict[str, tuple[list[Path], list[str]]] = {}
    skipped: list[tuple[Path, Finding]] = []
    files = {path.name: path} if path.is_file() else files_below(path)
    for name, file in files.items():
        if name.rpartition("/")[2] in _LISTS:
            continue
        try:
            look = look_at_file(file)
        except (InputError, OSError):
            skipped.append((file, Finding("NotDicom", "the file is no DICOM file, or damaged")))
            continue
        if look.sop_class == elements.DICOMDIR:
            text = "a DICOMDIR lists files; the files themselves are read"
            skipped.append((file, Finding("DicomDirectory", text)))
            continue
        members = groups.setdefault(look.patient_key, ([], []))
        members[0].append(file)
        members[1].append(look.sop_uid)
    return list(groups.values()), skipped
