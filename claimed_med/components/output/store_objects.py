"""Store DICOM objects in a DICOMweb archive."""

from __future__ import annotations

from typing import Annotated

from claimed_med.component import Address, Interval, component
from claimed_med.handles import DicomCollection, Report


@component(
    version="1.0.0",
    image="network",
    tags=("PACS", "DICOMweb", "store"),
    example={"objects": "collection", "url": "@dicomweb"},
)
def store_objects(
    objects: DicomCollection,
    *,
    url: Annotated[str, Address()] = "",
    n_connections: Annotated[int, Interval(1, 32)] = 2,
) -> Report:
    """Store DICOM objects in a DICOMweb archive.

    STOW-RS in batches. A batch without an answer is repeated with growing pauses, after the archive was asked what it
    has. When an object fails, the others are sent all the same, and then the run fails. De-identified objects leave by
    `store-deidentified`, which asks for the decision on them; this component refuses them.

    Args:
        objects: What to store.
        url: Base address of the service, such as https://pacs/dicom-web; credentials as for fetch-studies.
        n_connections: Requests at once.

    Returns:
        receipt: Counts, and for each object its status and the archive's reason code.

    Raises:
        ContractError: The address cannot be used.
        InputError: There is no object.
        OutputError: Some objects were not stored.
        RefusedError: The objects are de-identified, so that they need a decision.

    Source:
        DICOM PS3.18.
    """
    from claimed_med.dicom.storing import refuse_undecided, store
    from claimed_med.dicom.web import Archive

    refuse_undecided(objects)
    with Archive(url, n_connections=n_connections) as archive:
        return Report(store(archive, objects.paths()))
