"""Fetch studies into a folder that outlives a kill, and take them over from there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from claimed_med import scratch
from claimed_med.dicom.intake import Intake, take_over
from claimed_med.dicom.web import Archive, parse_query
from claimed_med.errors import InputError
from claimed_med.secret import keyed_hash

if TYPE_CHECKING:
    from pathlib import Path

_UIDS = re.compile(r"[0-9.]+(\s*,\s*[0-9.]+)*")


def fetch(archive: Archive, query: str, max_studies: int) -> Intake:
    """Fetch what a query finds.

    Args:
        archive: Where.
        query: As `fetch_studies` takes it.
        max_studies: More is an error: a slip in a query must not empty an archive onto this disk.

    Raises:
        InputError: No study matches, too many do, or the archive does not answer.
    """
    studies = studies_of(archive, query, max_studies)
    place = landing(query)
    for study in studies:
        archive.retrieve(study, place)
    taken = take_over(place)
    scratch.remove_with(taken.collection, place)
    return taken


def studies_of(archive: Archive, query: str, max_studies: int) -> list[str]:
    """The StudyInstanceUIDs that a query finds, sorted.

    Raises:
        InputError: None, or too many.
    """
    if not query.strip():
        raise InputError("fetch-studies", "the query is empty", do="set --query ModalitiesInStudy=CT, or study UIDs")
    if _UIDS.fullmatch(query.strip()):
        found = [one.strip() for one in query.split(",")]
    else:
        found = [one.study_uid for one in archive.query(parse_query(query), most=max_studies + 1)]
    if not found:
        raise InputError("fetch-studies", "no study matches the query", do="check the query")
    if len(found) > max_studies:
        raise InputError(
            "fetch-studies", "more studies match than max_studies", got=len(found), do="narrow the query, or raise it"
        )
    return sorted(set(found))


def landing(query: str) -> Path:
    """A folder for exactly this query of this run: found again after a kill."""
    run = scratch.folder()
    place = run.with_name(f"{run.name}-{keyed_hash('query', query)[:16]}") if run else scratch.temporary()
    place.mkdir(parents=True, exist_ok=True)
    return place

