"""Ask a DICOM node whether it is there."""

from __future__ import annotations

from typing import Annotated

from claimed_med.component import Address, component
from claimed_med.handles import Report


@component(version="1.0.0", image="network", tags=("PACS", "DIMSE"), example={"node": "@dimse"})
def echo_node(*, node: Annotated[str, Address()] = "", aet: Annotated[str, Address()] = "CLAIMED_MED") -> Report:
    """Ask a DICOM node whether it is there and knows us.

    One C-ECHO. A node that does not answer is a result and no error: the report says why. Certificates for TLS are the
    files that CLAIMED_MED_TLS_CA, _CERT and _KEY name.

    Args:
        node: Address, `AET@host:port`, with `tls:` in front for TLS.
        aet: Our AE title.

    Returns:
        status: Whether it answers, and if not, why, and whether that stays so until somebody changes a setting.

    Raises:
        ContractError: The address cannot be read.

    Source:
        DICOM PS3.4, Annex A.
    """
    from claimed_med.dicom.net_component import echo_status
    from claimed_med.dicom.net_node import Node

    return Report(echo_status(Node.parse(node, calling_aet=aet)))
