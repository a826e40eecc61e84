"""Store de-identified objects that a decision lets go."""

from __future__ import annotations

from typing import Annotated

from claimed_med.component import Address, Interval, component
from claimed_med.handles import Decision, DicomCollection, Report


@component(
    version="1.0.0",
    image="network",
    tags=("PACS", "DICOMweb", "store", "de-identification"),
    example={
        "deidentified": "deidentify-dicom:deidentified",
        "decision": "check-deidentification:decision",
        "url": "@dicomweb",
    },
)
def store_deidentified(
    deidentified: DicomCollection,
    decision: Decision,
    *,
    url: Annotated[str, Address()] = "",
    n_connections: Annotated[int, Interval(1, 32)] = 2,
) -> Report:
    """Store de-identified objects that a decision lets go.

    As store-objects, for exactly the objects that the decision blesses: anything else is refused, and nothing is sent.

    Args:
        deidentified: From deidentify-dicom.
        decision: From check-deidentification, on these very objects.
        url: Base address of the service, such as https://pacs/dicom-web; credentials as for fetch-studies.
        n_connections: Requests at once.

    Returns:
        receipt: Counts, and for each object its status and the archive's reason code.

    Raises:
        ContractError: The address cannot be used.
        OutputError: Some objects were not stored.
        RefusedError: The decision is a refusal, or blesses other objects.

    Source:
        DICOM PS3.18.
    """
    from claimed_med.dicom.storing import store
    from claimed_med.dicom.web import Archive

    with Archive(url, n_connections=n_connections) as archive:
        return Report(store(archive, deidentified.paths()))
