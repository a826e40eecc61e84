"""Take over every DICOM object of a folder."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from claimed_med.component import Location, component
from claimed_med.handles import DicomCollection, Report


class LoadFolderOutputs(NamedTuple):
    """What load_folder returns."""

    collection: DicomCollection
    findings: Report


@component(version="1.0.0", tags=("ingest", "folder", "cd"), example={"path": "collection"})
def load_folder(*, path: Annotated[str, Location()] = "") -> LoadFolderOutputs:
    """Take over every DICOM object of a folder.

    Any tree is accepted: mixed patients, studies and modalities, files without extension, DICOMDIR, junk.
    Files are copied under their SOPInstanceUID, since source names may hold patient names. Nothing is left out
    silently: the report lists what is no DICOM object, and repeated copies of an image.

    Args:
        path: Folder or file to read; its content is digested, its name is never recorded.

    Returns:
        collection: All DICOM objects, one file each.
        findings: Counts, volumes with their findings, and every skipped file by digest and reason.

    Raises:
        InputError: The folder does not exist, or holds no DICOM object.
    """
    from pathlib import Path

    from claimed_med.dicom.intake import take_over
    from claimed_med.errors import InputError

    if not path:
        raise InputError("load-folder", "no folder was named", do="set --path")
    taken = take_over(Path(path))
    return LoadFolderOutputs(taken.collection, Report(taken.report))
