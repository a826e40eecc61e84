"""Fetch studies from a DICOMweb archive."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from claimed_med.component import Address, Interval, component
from claimed_med.handles import DicomCollection, Report


class FetchStudiesOutputs(NamedTuple):
    """What fetch_studies returns."""

    collection: DicomCollection
    findings: Report


@component(
    version="1.0.0",
    image="network",
    tags=("ingest", "DICOMweb", "PACS"),
    example={"url": "@dicomweb", "query": "@study"},
)
def fetch_studies(
    *,
    url: Annotated[str, Address()] = "",
    query: Annotated[str, Address()] = "",
    max_studies: Annotated[int, Interval(1, 100000)] = 100,
    n_connections: Annotated[int, Interval(1, 32)] = 4,
) -> FetchStudiesOutputs:
    """Fetch studies from a DICOMweb archive.

    QIDO-RS finds them, WADO-RS retrieves them as they are stored. A fetch that was killed goes on where it stopped.
    Credentials come from the environment (CLAIMED_MED_DICOMWEB_TOKEN, or _USER and _PASSWORD, or _CERT and _KEY; each
    also as _FILE) and go over https only. Neither address nor query is recorded: they may name a patient.

    Args:
        url: Base address of the service, such as https://pacs/dicom-web.
        query: `Keyword=value&Keyword=value` as QIDO-RS takes them; or StudyInstanceUIDs, separated by commas.
        max_studies: Fail when more studies than this match.
        n_connections: Requests at once.

    Returns:
        collection: All objects of the studies, one file each.
        findings: Counts, volumes with their findings, and every skipped file by digest and reason.

    Raises:
        ContractError: The address or query cannot be used.
        InputError: No study matches, too many do, or the archive does not answer.

    Source:
        DICOM PS3.18.
    """
    from claimed_med.dicom.fetching import fetch
    from claimed_med.dicom.web import Archive

    with Archive(url, n_connections=n_connections) as archive:
        taken = fetch(archive, query, max_studies)
    return FetchStudiesOutputs(taken.collection, Report(taken.report))
