"""Send de-identified objects that a decision lets go to a DICOM node."""

from __future__ import annotations

from typing import Annotated

from claimed_med.component import Address, component
from claimed_med.handles import Decision, DicomCollection, Report


@component(
    version="1.0.0",
    image="network",
    tags=("PACS", "DIMSE", "store", "de-identification"),
    example={
        "deidentified": "deidentify-dicom:deidentified",
        "decision": "check-deidentification:decision",
        "node": "@dimse",
    },
)
def send_deidentified(
    deidentified: DicomCollection,
    decision: Decision,
    *,
    node: Annotated[str, Address()] = "",
    aet: Annotated[str, Address()] = "CLAIMED_MED",
    listen: Annotated[str, Address()] = "",
    commit: bool = False,
) -> Report:
    """Send de-identified objects that a decision lets go to a DICOM node.

    As send-objects, for exactly the objects that the decision blesses: anything else is refused, and nothing is sent.

    Args:
        deidentified: From deidentify-dicom.
        decision: From check-deidentification, on these very objects.
        node: Address, `AET@host:port`, with `tls:` in front for TLS; certificates as for send-objects.
        aet: Our AE title.
        listen: `host:port` where the node's report on the commitment may come in; '' for the same association.
        commit: Whether the node must commit to the storage of every object.

    Returns:
        receipt: Counts, and for each object what became of it.

    Raises:
        ContractError: An address cannot be read.
        InputError: There is no object, or the node refuses the request for commitment.
        OutputError: Some objects were not stored, or the node does not commit to them.
        RefusedError: The decision is a refusal, or blesses other objects.

    Source:
        DICOM PS3.4, Annexes B and J.
    """
    from claimed_med.dicom.net_component import send_all
    from claimed_med.dicom.net_node import Node

    target = Node.parse(node, calling_aet=aet)
    return Report(send_all(target, deidentified.paths(), committed=commit, listen=listen))
