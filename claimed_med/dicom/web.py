"""An archive that speaks DICOMweb: find (QIDO-RS), retrieve (WADO-RS), store (STOW-RS); on streams.

    archive = Archive("https://pacs.example/dicom-web")     credentials from the environment, see web_auth
    studies = archive.query({"ModalitiesInStudy": "CT"})    UIDs and counts only
    archive.retrieve(studies[0].study_uid, folder)          <SOPInstanceUID>.dcm, byte for byte as the archive has them
    archive.store(paths)                                    one result for each instance

dicomweb-client is not used for this: it parses every object and writes it anew, holds whole answers in memory, repeats
requests on its own terms, and logs queries.

Source:
    DICOM PS3.18.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from claimed_med.dicom import web_retrieve, web_store
from claimed_med.dicom.web_auth import Credentials, from_environment
from claimed_med.dicom.web_retrieve import Retrieved
from claimed_med.dicom.web_search import (
    INSTANCE,
    N_INSTANCES,
    N_SERIES,
    STUDY,
    CannotSearch,
    count,
    is_uid,
    parse_query,
    search,
)
from claimed_med.dicom.web_store import ALREADY_STORED, FAILED, SKIPPED, STORED, Stored, require_all
from claimed_med.dicom.web_transport import Patience, Transport
from claimed_med.errors import InputError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

__all__ = [
    "ALREADY_STORED",
    "FAILED",
    "SKIPPED",
    "STORED",
    "Archive",
    "Credentials",
    "Patience",
    "Retrieved",
    "Stored",
    "Study",
    "from_environment",
    "is_uid",
    "parse_query",
    "require_all",
]

BATCH_SIZE, BATCH_BYTES = 50, 64 << 20


@dataclass(frozen=True)
class Study:
    """A study as an archive lists it: no patient attribute.

    Attributes:
        study_uid: StudyInstanceUID.
        n_series: NumberOfStudyRelatedSeries, -1 where the archive does not tell.
        n_instances: NumberOfStudyRelatedInstances, -1 where the archive does not tell.
    """

    study_uid: str
    n_series: int = -1
    n_instances: int = -1


class Archive(contextlib.AbstractContextManager["Archive"]):
    """A DICOMweb server; safe to use from one thread at a time.

    Args:
        url: Of the service (`https://host/dicom-web`); never logged or repeated in an error.
        credentials: What proves who we are; None reads the environment.
        n_connections: Most connections at a time.
        patience: How long and how often to try.

    Raises:
        ContractError: The address, or the credentials with it, would give a secret away.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials | None = None,
        *,
        n_connections: int = 4,
        patience: Patience | None = None,
    ) -> None:
        who = from_environment() if credentials is None else credentials
        how = patience or Patience()
        self.url = url.rstrip("/")
        self._reading = Transport(url, who, how, InputError, n_connections)
        self._writing = Transport(url, who, how, OutputError, n_connections)

    def query(self, filters: Mapping[str, str], *, most: int = 0) -> list[Study]:
        """Find studies (QIDO-RS).

        Args:
            filters: Attribute -> what it must match (`{"StudyDate": "20200101-20201231"}`).
            most: At most so many, 0 for all.

        Returns:
            Sorted by StudyInstanceUID.

        Raises:
            InputError: The archive refuses the query, or does not answer.
        """
        wanted = {**filters, "includefield": f"{N_SERIES},{N_INSTANCES}"}
        try:
            found = search(self._reading, "studies", STUDY, wanted, most=most)
        except CannotSearch as error:
            what, do = "the archive refuses the query", "check url and query"
            raise self._reading.fail(what, got=f"HTTP status {error.status}", do=do) from None
        return [Study(uid, count(row, N_SERIES), count(row, N_INSTANCES)) for uid, row in sorted(found.items())]

    def instances(self, study_uid: str) -> list[str]:
        """The SOPInstanceUIDs of a study, sorted.

        Raises:
            InputError: The UID is none, or the archive does not answer.
        """
        if not is_uid(study_uid):
            raise self._reading.fail("a StudyInstanceUID is none", allowed="digits and single dots, at most 64")
        try:
            return sorted(search(self._reading, f"studies/{study_uid}/instances", INSTANCE, {}))
        except CannotSearch as error:
            raise self._reading.fail("the archive refuses the query", got=f"HTTP status {error.status}") from None

    def retrieve(self, study_uid: str, folder: Path) -> list[Path]:
        """Retrieve one study (WADO-RS) and return its files; see `retrieve_studies`."""
        return list(self.retrieve_study(study_uid, folder).files)

    def retrieve_study(self, study_uid: str, folder: Path) -> Retrieved:
        """Retrieve one study (WADO-RS); see `retrieve_studies`."""
        return self.retrieve_studies([study_uid], folder)[0]

    def retrieve_studies(self, study_uids: Sequence[str], folder: Path) -> list[Retrieved]:
        """Retrieve studies, several series at a time, as the archive keeps them.

        A file appears under its name when it is whole. What is whole in the folder already is not asked for again,
        where the archive lists its instances.

        Args:
            study_uids: StudyInstanceUIDs.
            folder: Made when it is not there.

        Raises:
            InputError: A UID is none, a study is not there, or the archive sends something else or does not answer.
            OutputError: The folder cannot be written.
        """
        wanted = list(dict.fromkeys(study_uids))
        if not all(is_uid(uid) for uid in wanted):
            raise self._reading.fail("a StudyInstanceUID is none", allowed="digits and single dots, at most 64")
        return web_retrieve.retrieve(self._reading, wanted, folder)

    def store(
        self, paths: Iterable[Path], *, batch_size: int = BATCH_SIZE, batch_bytes: int = BATCH_BYTES
    ) -> list[Stored]:
        """Store files (STOW-RS); what the archive has is not sent again, and no failure stops the others.

        An archive that does not answer any more is no exception: what it did not take has failed, with the reason.

        Args:
            paths: DICOM files.
            batch_size: Most instances of a request.
            batch_bytes: Most bytes of a request [bytes]; a larger object goes alone.

        Returns:
            One result for each instance, in the order of the files; files that are no DICOM object are `skipped`.
        """
        return web_store.store(self._writing, paths, batch_size, batch_bytes)

    def close(self) -> None:
        """Close all connections."""
        self._reading.close()
        self._writing.close()

    def __enter__(self) -> Self:
        """The archive itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        self.close()
