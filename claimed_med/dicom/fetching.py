"""Fetch studies into a folder that outlives a kill, and take them over from there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from claimed_med import scratch
from claimed_med.dicom.intake import Intake, take_over
from claimed_med.dicom.web import Archive, parse_query
from claimed_med.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable
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
    with scratch.landing(f"{archive.url} {query}") as place:
        fetched = [path for one in archive.retrieve_studies(studies, place) for path in one.files]
        return take_landed(place, fetched)


def take_landed(place: Path, fetched: Iterable[Path]) -> Intake:
    """Take over exactly the files that were fetched into a landing folder; what a killed run left there goes.

    Args:
        place: From `scratch.landing`.
        fetched: Its files that count.
    """
    for stale in set(place.iterdir()) - set(fetched):
        stale.unlink()
    taken_place = scratch.taken_from(place)
    taken = take_over(taken_place)
    scratch.remove_with(taken.collection, taken_place)
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
