"""Fetch studies from a DICOM node."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from claimed_med.component import Address, Interval, component
from claimed_med.handles import DicomCollection, Report


class GetStudiesOutputs(NamedTuple):
    """What get_studies returns."""

    collection: DicomCollection
    findings: Report


@component(
    version="1.0.0",
    image="network",
    tags=("ingest", "DIMSE", "PACS"),
    example={"node": "@dimse", "query": "@study"},
)
def get_studies(
    *,
    node: Annotated[str, Address()] = "",
    query: Annotated[str, Address()] = "",
    aet: Annotated[str, Address()] = "CLAIMED_MED",
    listen: Annotated[str, Address()] = "127.0.0.1:11113",
    method: Literal["get", "move"] = "get",
    max_studies: Annotated[int, Interval(1, 100000)] = 100,
) -> GetStudiesOutputs:
    """Fetch studies from a DICOM node.

    C-FIND says what there is, C-GET or C-MOVE fetches it, in the transfer syntax in which it is stored where the node
    can do so. A fetch that was killed goes on where it stopped; an object that does not come is an error. Certificates
    for TLS are the files that CLAIMED_MED_TLS_CA, _CERT and _KEY name.

    Args:
        node: Address, `AET@host:port`, with `tls:` in front for TLS.
        query: `Keyword=value&Keyword=value`, or StudyInstanceUIDs separated by commas.
        aet: Our AE title.
        listen: For move: address and port of our receiver, as the node knows them for our AE title.
        method: `get` needs no open port here; `move` lets the node send to our receiver.
        max_studies: Fail when more studies than this match.

    Returns:
        collection: All objects of the studies, one file each.
        findings: Counts, volumes with their findings, and every skipped file by digest and reason.

    Raises:
        ContractError: An address or the query cannot be read.
        InputError: No study matches, too many do, objects are missing, or the node cannot be reached.

    Source:
        DICOM PS3.4, Annex C.
    """
    from claimed_med.dicom.net_component import fetch
    from claimed_med.dicom.net_node import Node

    taken = fetch(Node.parse(node, calling_aet=aet), query, method, max_studies, listen)
    return GetStudiesOutputs(taken.collection, Report(taken.report))
