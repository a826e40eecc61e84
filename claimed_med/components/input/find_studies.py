"""List the studies that a DICOM node holds."""

from __future__ import annotations

from typing import Annotated

from claimed_med.component import Address, Interval, component
from claimed_med.handles import Table


@component(
    version="1.0.0",
    image="network",
    tags=("PACS", "DIMSE", "query"),
    example={"node": "@dimse", "query": "ModalitiesInStudy=CT"},
)
def find_studies(
    *,
    node: Annotated[str, Address()] = "",
    query: Annotated[str, Address()] = "",
    aet: Annotated[str, Address()] = "CLAIMED_MED",
    max_studies: Annotated[int, Interval(1, 100000)] = 1000,
) -> Table:
    """List the studies that a DICOM node holds.

    One C-FIND at the study level. Of the answers only identifiers, modalities and counts are kept. Certificates for TLS
    are the files that CLAIMED_MED_TLS_CA, _CERT and _KEY name.

    Args:
        node: Address, `AET@host:port`, with `tls:` in front for TLS.
        query: `Keyword=value&Keyword=value`, such as StudyDate=20260101-&ModalitiesInStudy=CT; '' for all.
        aet: Our AE title.
        max_studies: Fail when more studies than this match.

    Returns:
        studies: Columns study_uid, modalities, n_series, n_instances; a count that the node does not tell is -1.

    Raises:
        ContractError: The address or query cannot be read.
        InputError: The node cannot be reached or refuses, or too many studies match.

    Source:
        DICOM PS3.4, Annex C.
    """
    import pandas as pd

    from claimed_med.dicom.net_component import find_rows
    from claimed_med.dicom.net_node import Node

    rows = find_rows(Node.parse(node, calling_aet=aet), query, max_studies)
    kinds = {"study_uid": "object", "modalities": "object", "n_series": "int64", "n_instances": "int64"}
    return Table(pd.DataFrame(rows, columns=list(kinds)).astype(kinds))
