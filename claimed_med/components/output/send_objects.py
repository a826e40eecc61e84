"""Send DICOM objects to a DICOM node."""

from __future__ import annotations

from typing import Annotated

from claimed_med.component import Address, component
from claimed_med.handles import DicomCollection, Report


@component(
    version="1.0.0",
    image="network",
    tags=("PACS", "DIMSE", "store"),
    example={"objects": "collection", "node": "@dimse"},
)
def send_objects(
    objects: DicomCollection,
    *,
    node: Annotated[str, Address()] = "",
    aet: Annotated[str, Address()] = "CLAIMED_MED",
    listen: Annotated[str, Address()] = "",
    commit: bool = False,
) -> Report:
    """Send DICOM objects to a DICOM node.

    C-STORE of each file as it is where the node takes it so, else uncompressed, never with loss. When an object fails,
    the others are sent all the same, and then the run fails. De-identified objects leave by `send-deidentified`, which
    asks for the decision on them; this component refuses them. Certificates for TLS are the files that
    CLAIMED_MED_TLS_CA, _CERT and _KEY name.

    Args:
        objects: What to send.
        node: Address, `AET@host:port`, with `tls:` in front for TLS.
        aet: Our AE title.
        listen: `host:port` where the node's report on the commitment may come in; '' for the same association.
        commit: Whether the node must commit to the storage of every object.

    Returns:
        receipt: Counts, and for each object what became of it.

    Raises:
        ContractError: An address cannot be read.
        InputError: There is no object, or the node refuses the request for commitment.
        OutputError: Some objects were not stored, or the node does not commit to them.
        RefusedError: The objects are de-identified, so that they need a decision.

    Source:
        DICOM PS3.4, Annexes B and J.
    """
    from claimed_med.dicom.net_component import send_all
    from claimed_med.dicom.net_node import Node
    from claimed_med.dicom.storing import refuse_undecided

    refuse_undecided(objects)
    return Report(send_all(Node.parse(node, calling_aet=aet), objects.paths(), committed=commit, listen=listen))
