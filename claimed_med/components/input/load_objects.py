"""Take over DICOM objects from S3, HTTP or a folder."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from claimed_med.component import Location, component
from claimed_med.handles import DicomCollection, Report


class LoadObjectsOutputs(NamedTuple):
    """What load_objects returns."""

    collection: DicomCollection
    findings: Report


@component(version="1.0.0", tags=("ingest", "s3", "http", "object store"), example={"location": "collection"})
def load_objects(*, location: Annotated[str, Location()] = "") -> LoadObjectsOutputs:
    """Take over DICOM objects from S3, HTTP or a folder.

    Everything below the address is copied, then taken over as load-folder does: files are named by SOPInstanceUID,
    and nothing is left out silently. Credentials come from the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL_S3 ...)
    and are never recorded, nor is the address.

    Args:
        location: s3://bucket/prefix, https://host/file, or a folder; its content is digested.

    Returns:
        collection: All DICOM objects, one file each.
        findings: Counts, volumes with their findings, and every skipped file by digest and reason.

    Raises:
        InputError: Nothing is there, it cannot be read, or it holds no DICOM object.
        MissingDependencyError: The client of this kind of address is not installed (extra remote).
    """
    from pathlib import Path

    from claimed_med.dicom.intake import take_over
    from claimed_med.errors import InputError
    from claimed_med.remote import is_remote, local_copy

    if not location:
        raise InputError("load-objects", "no location was named", do="set --location")
    taken = take_over(local_copy(location) if is_remote(location) else Path(location))
    return LoadObjectsOutputs(taken.collection, Report(taken.report))
