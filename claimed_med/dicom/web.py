"""DICOMweb: query (QIDO-RS), retrieve (WADO-RS) and store (STOW-RS), on files, whole or not at all.

    with Archive("https://pacs/dicom-web") as archive:
        archive.query({"ModalitiesInStudy": "CT"})
        archive.retrieve(study_uid, folder)  # resumes where an earlier one stopped
        archive.store(paths)                 # one result an object

Source:
    DICOM PS3.18.
"""

from __future__ import annotations

import json
import os
import random
import re
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

import requests

from claimed_med.dicom.deid_gather import Look, look_at_file
from claimed_med.dicom.multipart import parts_of
from claimed_med.dicom.web_session import Session
from claimed_med.errors import ContractError, InputError, OutputError, require
from claimed_med.payload import PARTIAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

BATCH_BYTES, BATCH_INSTANCES = 64 << 20, 100
N_ATTEMPTS = 5
LONGEST_WAIT_S = 30.0
STORED, ALREADY_STORED, FAILED = "stored", "already stored", "failed"
_UID = re.compile(r"[0-9.]{1,64}")
_PAGE = 500
_FAILURE_REASON, _FAILED, _REFERENCED = "00081197", "00081198", "00081199"
_SOP_UID, _SERIES_UID, _STUDY_UID = "00080018", "0020000E", "0020000D"
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Study:
    """One study of an archive: identifiers and counts only."""

    study_uid: str
    modalities: tuple[str, ...]
    n_series: int
    n_instances: int


@dataclass(frozen=True)
class Stored:
    """What became of one object: `stored`, `already stored` or `failed`, with the archive's reason code."""

    sop_uid: str
    status: str
    reason: str = ""


class Archive:
    """A DICOMweb service.

    Args:
        url: Its base address; credentials come from the environment (see `web_session`).
        n_connections: Requests at once.

    Raises:
        ContractError: The address cannot be used.
    """

    def __init__(self, url: str, *, n_connections: int = 4) -> None:
        self.url = url.rstrip("/")
        self.n_connections = n_connections
        self.n_repeats = 0
        self._sessions: list[Session] = []
        self._local = threading.local()
        self.session  # noqa: B018 - an address that cannot be used is refused now

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        for one in self._sessions:
            one.close()

    @property
    def session(self) -> Session:
        """The session of this thread."""
        if not hasattr(self._local, "session"):
            self._local.session = Session(self.url)
            self._sessions.append(self._local.session)
        session: Session = self._local.session
        return session

    def query(self, filters: Mapping[str, str], *, most: int = 1000) -> list[Study]:
        """Studies that match.

        Args:
            filters: DICOM keyword -> value, as QIDO-RS takes them.
            most: At most so many.

        Raises:
            InputError: The archive does not answer, or not in DICOM JSON.
        """
        fields = ["ModalitiesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"]
        found = self._search("search_for_studies", most, search_filters=dict(filters), fields=fields)
        return [
            Study(
                _first(one, _STUDY_UID),
                tuple(map(str, one.get("00080061", {}).get("Value", []))),
                int(_first(one, "00201206") or 0),
                int(_first(one, "00201208") or 0),
            )
            for one in found
        ]

    def instances(self, study_uid: str) -> dict[str, str]:
        """SOPInstanceUID -> SeriesInstanceUID of every object of a study; empty when the archive has none.

        Raises:
            InputError: The archive does not answer.
        """
        found = self._search("search_for_instances", 0, study_instance_uid=_checked(study_uid))
        return {_checked(_first(one, _SOP_UID)): _checked(_first(one, _SERIES_UID)) for one in found}

    def retrieve(self, study_uid: str, folder: Path) -> list[Path]:
        """Retrieve a study as `<SOPInstanceUID>.dcm`; what lies there already is not asked for again.

        Args:
            study_uid: StudyInstanceUID.
            folder: Existing folder.

        Returns:
            The files of the study.

        Raises:
            InputError: The archive does not answer, or did not send everything that it lists.
        """
        wanted = self.instances(study_uid)
        if not wanted:
            raise InputError("DICOMweb", "the archive has no such study", got=study_uid)
        for left in folder.glob(f"{PARTIAL}*"):
            left.unlink()
        missing = {uid: series for uid, series in wanted.items() if not (folder / f"{uid}.dcm").is_file()}
        jobs: list[str] = []
        for series in sorted(set(missing.values())):
            whole = all(uid in missing for uid, one in wanted.items() if one == series)
            base = f"{self.url}/studies/{study_uid}/series/{series}"
            jobs += [base] if whole else [f"{base}/instances/{uid}" for uid, one in missing.items() if one == series]
        with ThreadPoolExecutor(self.n_connections) as pool:
            list(pool.map(lambda url: self._retrieved(url, folder), jobs))
        lost = [uid for uid in wanted if not (folder / f"{uid}.dcm").is_file()]
        if lost:
            raise InputError(
                "DICOMweb", "the archive did not send every object that it lists", got=f"{len(lost)} are missing"
            )
        return [folder / f"{uid}.dcm" for uid in sorted(wanted)]

    def present(self, looks: Sequence[Look]) -> set[str]:
        """Which of these objects the archive has.

        Raises:
            InputError: The archive does not answer.
        """
        studies = sorted({one.study_uid for one in looks if one.study_uid})
        known = {uid for study in studies for uid in self.instances(study)}
        return {one.sop_uid for one in looks} & known

    def store(self, paths: Sequence[Path]) -> list[Stored]:
        """Store objects; every one gets a result, whatever happens to the others.

        A batch that fails for want of an answer is repeated with growing pauses; before that the archive is asked what
        it has got.

        Args:
            paths: DICOM files.

        Raises:
            InputError: A file is no DICOM object.
        """
        looks = {path: look_at_file(path) for path in paths}
        batches = list(_batches(paths))
        with ThreadPoolExecutor(self.n_connections) as pool:
            results = pool.map(lambda batch: self._store_batch({one: looks[one] for one in batch}), batches)
            return [one for found in results for one in found]

    def _search(self, function: str, most: int, **arguments: Any) -> list[dict[str, Any]]:
        web = require("dicomweb_client", "network")
        client = web.DICOMwebClient(self.url, session=self.session)
        client.set_http_retry_params(retry=False)  # repeats are ours
        found: list[dict[str, Any]] = []
        while True:
            wanted = min(_PAGE, most - len(found)) if most else _PAGE
            page = self._attempt(
                lambda: getattr(client, function)(limit=wanted, offset=len(found), **arguments)  # noqa: B023 - called at once
            )
            known = {json.dumps(one, sort_keys=True) for one in found}
            fresh = [one for one in page if json.dumps(one, sort_keys=True) not in known]
            found += fresh
            if len(page) < wanted or not fresh or (most and len(found) >= most):
                return found

    def _attempt(self, call: Any) -> Any:
        """Call, and call again when the archive is busy or gone for a moment."""
        for attempt in range(N_ATTEMPTS):
            try:
                return call()
            except (ValueError, KeyError, TypeError):  # requests' own JSON error is one of these
                raise InputError("DICOMweb", "the answer is not DICOM JSON", do="check the address") from None
            except requests.RequestException as error:
                response = error.response
                if attempt + 1 == N_ATTEMPTS or (response is not None and response.status_code not in _AGAIN):
                    _fail(error)
                self.n_repeats += 1
                time.sleep(_pause(attempt, response))
        return None

    def _retrieved(self, url: str, folder: Path) -> None:
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'

        def once() -> None:
            with self.session.get(url, headers={"Accept": accept}, stream=True) as answer:
                answer.raise_for_status()
                for number, part in enumerate(parts_of(answer)):
                    _keep(part, folder, number)

        self._attempt(once)

    def _store_batch(self, batch: dict[Path, Look]) -> list[Stored]:
        done: dict[str, Stored] = {}
        left = dict(batch)
        why = ""
        for attempt in range(N_ATTEMPTS):
            if attempt:
                self.n_repeats += 1
                self._note_present(left, done)
                left = {path: look for path, look in left.items() if look.sop_uid not in done}
            if not left:
                break
            response = None
            try:
                response = self._post(list(left))
                if response.status_code in _AGAIN:
                    why = f"HTTP {response.status_code}"
                else:
                    done |= _results(response, left)
                    break
            except requests.RequestException as error:
                why = type(error).__name__
            if attempt + 1 < N_ATTEMPTS:
                time.sleep(_pause(attempt, response))
        return [done.get(one.sop_uid, Stored(one.sop_uid, FAILED, why)) for one in batch.values()]

    def _note_present(self, left: dict[Path, Look], done: dict[str, Stored]) -> None:
        try:
            present = self.present(list(left.values()))
        except InputError:
            return
        done.update({uid: Stored(uid, ALREADY_STORED) for uid in present})

    def _post(self, paths: Sequence[Path]) -> requests.Response:
        border = uuid.uuid4().hex
        return self.session.post(
            f"{self.url}/studies",
            data=b"".join(_body(paths, border)),  # many archives refuse a body of unknown length
            headers={
                "Content-Type": f'multipart/related; type="application/dicom"; boundary={border}',
                "Accept": "application/dicom+json",
            },
        )


def require_all(results: Sequence[Stored]) -> None:
    """Raise when not every object arrived.

    Raises:
        OutputError: Some failed; it says how many, and why.
    """
    failed = [one for one in results if one.status == FAILED]
    if failed:
        reasons = ", ".join(sorted({one.reason or "no reason given" for one in failed}))
        raise OutputError(
            "archive", f"{len(failed)} of {len(results)} objects were not stored", got=reasons, do="run again"
        )


def parse_query(text: str) -> dict[str, str]:
    """`PatientID=4711&ModalitiesInStudy=CT` as a mapping.

    Raises:
        ContractError: A part is no `Keyword=value`.
    """
    found = {}
    for part in filter(None, text.split("&")):
        keyword, equals, value = part.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z0-9.]+", keyword):
            raise ContractError("query", "a part is no Keyword=value", do="write ModalitiesInStudy=CT&StudyDate=2020-")
        found[keyword] = value
    return found


def _batches(paths: Sequence[Path]) -> Iterator[list[Path]]:
    batch: list[Path] = []
    size = 0
    for path in paths:
        length = path.stat().st_size
        if batch and (size + length > BATCH_BYTES or len(batch) == BATCH_INSTANCES):
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += length
    if batch:
        yield batch


def _body(paths: Sequence[Path], border: str) -> Iterator[bytes]:
    for path in paths:
        yield f"--{border}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        yield path.read_bytes()
        yield b"\r\n"
    yield f"--{border}--\r\n".encode()


def _results(response: requests.Response, batch: Mapping[Path, Look]) -> dict[str, Stored]:
    try:
        told = response.json()
    except ValueError:
        told = {}
    told = told[0] if isinstance(told, list) and told else told
    found = {}
    for item in told.get(_FAILED, {}).get("Value", []) if isinstance(told, dict) else []:
        uid = _first(item, "00081155")
        found[uid] = Stored(uid, FAILED, f"0x{int(_first(item, _FAILURE_REASON) or 0):04X}")
    for item in told.get(_REFERENCED, {}).get("Value", []) if isinstance(told, dict) else []:
        uid = _first(item, "00081155")
        found[uid] = Stored(uid, STORED)
    for one in batch.values():
        if one.sop_uid not in found:
            found[one.sop_uid] = Stored(one.sop_uid, FAILED, f"HTTP {response.status_code}, not named in the answer")
    return found


def _keep(part: Iterator[bytes], folder: Path, number: int) -> None:
    """Write one part under its own SOPInstanceUID, which must be one: no path ever comes from the archive."""
    partial = folder / f"{PARTIAL}{threading.get_ident()}-{number}"
    try:
        with partial.open("wb") as stream:
            for piece in part:
                stream.write(piece)
            stream.flush()
            os.fsync(stream.fileno())
        partial.rename(folder / f"{_checked(look_at_file(partial).sop_uid)}.dcm")
    finally:
        partial.unlink(missing_ok=True)


def _checked(uid: str) -> str:
    if not _UID.fullmatch(uid) or uid.strip(".") == "":
        raise InputError("DICOMweb", "the archive answered with something that is no UID")
    return uid


def _first(item: Mapping[str, Any], tag: str) -> str:
    values = item.get(tag, {}).get("Value") or [""]
    return str(values[0])


def _pause(attempt: int, response: requests.Response | None) -> float:
    asked = response.headers.get("Retry-After", "") if response is not None else ""
    if asked.isdigit():
        return min(float(asked), LONGEST_WAIT_S)
    return min(LONGEST_WAIT_S, 0.25 * 2**attempt) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret


def _fail(error: requests.RequestException) -> NoReturn:
    status = error.response.status_code if error.response is not None else None
    if status in {401, 403}:
        what, do = "the archive refuses access", "set CLAIMED_MED_DICOMWEB_TOKEN or _USER and _PASSWORD"
    elif status is not None:
        what, do = "the archive answers with an error", "check address and query"
    else:
        what, do = "the archive does not answer", "check the address, and that it is up"
    raise InputError("DICOMweb", what, got=f"HTTP {status}" if status else type(error).__name__, do=do) from None
