"""Give de-identified objects their patient back."""

from __future__ import annotations

from claimed_med.component import component
from claimed_med.handles import DicomCollection, Report


@component(
    version="1.0.0",
    image="network",
    border=True,
    tags=("de-identification", "privacy", "re-identification"),
    example={"objects": "deidentify-dicom:deidentified", "links": "link-identities:links"},
)
def reidentify_dicom(objects: DicomCollection, links: Report) -> DicomCollection:
    """Give de-identified objects their patient back.

    For who holds the link table and its secret: results that were made on de-identified images (segmentations, reports)
    go back under the patient, study and series they belong to, and dates that were moved move back. What
    de-identification removed stays away. Nothing is passed on when the table does not know a patient. The record names
    its inputs by keyed hash only: one that named both sides would be a link table for everybody.

    Args:
        objects: De-identified objects, or objects that were made from such.
        links: Their link table, from link-identities.

    Returns:
        reidentified: One object a file, named by its SOPInstanceUID.

    Raises:
        InputError: The table is sealed with another key, or does not know a patient; or there is no object.
    """
    from pydicom import dcmread

    from claimed_med import scratch
    from claimed_med.dicom import deid_links
    from claimed_med.dicom.deid_back import reidentified
    from claimed_med.dicom.header import quiet
    from claimed_med.errors import InputError

    table = deid_links.unseal(links.each().values())
    place = scratch.temporary()
    for path in (one for one in objects.paths() if one.suffix == ".dcm"):
        with quiet():
            uid, data = reidentified(dcmread(path), table)
        (place / f"{uid}.dcm").write_bytes(data)
    collection = DicomCollection.from_files({one.name: one for one in sorted(place.iterdir())})
    collection.final = True
    scratch.remove_with(collection, place)
    if not collection.files:
        raise InputError("reidentify-dicom", "there is no object")
    return collection
