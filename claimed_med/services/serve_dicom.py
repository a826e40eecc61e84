"""DICOM in, DICOM out: a study of an archive or an upload; the component itself runs on it, and lineage comes along.

What comes from outside is held against limits before it is decoded: bytes, number of files, voxels as the headers tell.
Names of files are ours. An archive is asked only where its origin is on the list, and redirects elsewhere are refused.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from claimed_med.dicom.header import NotReadable, open_instance, whole
from claimed_med.dicom.scan import COPY, VolumeEntry, scan
from claimed_med.dicom.web import Archive, Patience, is_uid, require_all
from claimed_med.dicom.web_multipart import CHUNK, NotMultipart, boundary_of, parts
from claimed_med.dicom.web_transport import TooMuch
from claimed_med.errors import ClaimedMedError, ContractError, InputError, OutputError
from claimed_med.handles import DicomSeries
from claimed_med.payload import LINEAGE
from claimed_med.prediction_log import ATTRIBUTES, Prediction
from claimed_med.secret import keyed_hash
from claimed_med.services import serve_metrics
from claimed_med.services.serve_case import described, features, figures
from claimed_med.services.serve_error import WHERE, ArchiveFailed, Forbidden, NotTaken, TooLarge
from claimed_med.services.serve_inflate import check_inflated
from claimed_med.services.serve_job import Job, current
from claimed_med.services.serve_kept import Kept
from claimed_med.services.serve_model import Models, Served
from claimed_med.services.serve_options import Options, origin_of
from claimed_med.services.serve_tensor import common
from claimed_med.units import named_files

MOST_FILES = 20_000
_PATIENCE = Patience(attempts=2, first_s=0.5, longest_s=5.0, connect_s=5.0, read_s=30.0)


@dataclass(frozen=True)
class Asked:
    """What a request asks for.

    Attributes:
        url: Of a study or series of an archive, or ''.
        store: DICOMweb service that gets the results, or ''.
    """

    url: str = ""
    store: str = ""


@dataclass
class Result:
    """What became of one volume.

    Attributes:
        told: JSON-ready: key, outcome, figures, model; for a refusal the error.
        objects: SOPInstanceUID -> bytes of every object that was made.
        lineage: The record of the objects.
        prediction: For the record of predictions.
    """

    told: dict[str, Any]
    prediction: Prediction
    objects: dict[str, bytes] = field(default_factory=dict)
    lineage: dict[str, Any] = field(default_factory=dict)


class Dicom:
    """Works on DICOM requests, each in a thread of the caller.

    Args:
        options: Of the server.
        work: Folder for what requests bring and make.
    """

    def __init__(self, options: Options, work: Path) -> None:
        self._options, self._work = options, work
        self.kept = Kept(options.lineage, options.pictures)

    @contextmanager
    def place(self) -> Iterator[Path]:
        """A folder for one request; gone at the end of the block."""
        folder = Path(tempfile.mkdtemp(prefix="request-", dir=self._work))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def allow(self, asked: Asked) -> None:
        """Refuse addresses that are not on the list, before anything is done.

        Raises:
            ContractError: No address at all.
            Forbidden: Another origin.
        """
        for url in filter(None, (asked.url, asked.store)):
            if origin_of(url) not in self._options.origins:
                do = "name an archive that the server was started with (--allow-origin)"
                raise Forbidden(WHERE, "the origin of an address is not allowed", do=do)

    def unpack(self, body: Path, content_type: str, folder: Path) -> None:
        """Write the parts of an upload into a folder.

        Args:
            body: As it came.
            content_type: `application/dicom`, `multipart/related` or `multipart/form-data`.
            folder: Gets numbered files.

        Raises:
            NotTaken: It is none of these, or damaged.
            TooLarge: There are too many parts.
        """
        folder.mkdir()
        if content_type.split(";", maxsplit=1)[0].strip().lower() == "application/dicom":
            body.rename(folder / "0.dcm")
            return
        try:
            with body.open("rb") as stream:
                chunks = iter(lambda: stream.read(CHUNK), b"")
                for number, part in enumerate(parts(chunks, boundary_of(content_type))):
                    if number >= MOST_FILES:
                        raise TooLarge(WHERE, "there are more files than are taken", allowed=str(MOST_FILES))
                    with (folder / f"{number}.dcm").open("wb") as target:
                        for chunk in part:
                            target.write(chunk)
        except NotMultipart:
            allowed = "application/dicom, multipart/related, multipart/form-data"
            raise NotTaken(WHERE, "the body is no multipart of DICOM files", allowed=allowed) from None
        body.unlink()

    def fetch(self, url: str, folder: Path) -> None:
        """Fetch a study or series of an allowed archive.

        Raises:
            ContractError: The address names no study.
            ArchiveFailed: The archive does not answer as it should.
            TooLarge: It sends more bytes than an upload may have.
        """
        service, study, series = split_address(url)
        try:
            with Archive(service, patience=_patience(self._options.max_upload)) as archive:
                archive.retrieve(study, folder)
        except TooMuch:
            most = f"{self._options.max_upload >> 20} MiB"
            raise TooLarge(WHERE, "the study is larger than is taken", allowed=most, do="upload one series") from None
        except (InputError, OutputError) as error:
            raise _failed(error) from None
        if series:
            for path in folder.iterdir():
                if _series_of(path) != series:
                    path.unlink()

    def check(self, folder: Path) -> None:
        """Hold deflated files against the limit, before anything inflates them.

        Raises:
            TooLarge: Together they grow beyond what is taken.
        """
        check_inflated(folder.iterdir(), self._options.max_upload)

    def listed(self, folder: Path, job: Job) -> Sequence[VolumeEntry]:
        """The volumes of a folder, by their headers, held against the limit before pixels are decoded.

        Files that hold nothing to read (damaged, no DICOM, copies) are counted by finding: in `job.told`, and metrics.

        Raises:
            InputError: There is no volume.
            TooLarge: They have more voxels than are taken.
        """
        found = scan(folder)
        skipped = Counter(one.finding.name for one in found.skipped)
        if skipped:
            job.told["skipped"] = dict(skipped)
        for name, number in skipped.items():
            serve_metrics.SKIPPED.labels(name).inc(number)
        if not found.volumes:
            findings = [one.finding for one in found.skipped]
            raise InputError(
                WHERE, "there is no image volume", got=f"{len(found.skipped)} other files", findings=findings
            )
        if (
            sum(_n_voxels(header) for entry in found.volumes for header in entry.series.headers)
            > self._options.max_voxels
        ):
            most = f"{self._options.max_voxels:,} voxels"
            raise TooLarge(WHERE, "the images are larger than are taken", allowed=most, do="send less at once")
        return found.volumes

    def predict(self, folder: Path, models: Models, job: Job) -> list[Result]:
        """Run the component on every volume.

        Args:
            folder: With the files.
            models: What is served.
            job: The request.

        Raises:
            InputError: There is no volume.
        """
        with job.stage("read"):
            volumes = self.listed(folder, job)
        token = current.set(job)
        try:
            return [self._one(entry, models, job, folder.parent) for entry in volumes]
        finally:
            current.reset(token)

    def unread(self, models: Models, job: Job, *, is_all: bool) -> list[Prediction]:
        """What the record says of files that cannot be read: one refusal a request. Copies are no loss.

        Args:
            models: What is served.
            job: The request.
            is_all: Whether it held nothing else: no volume.
        """
        skipped: Mapping[str, int] = job.told.get("skipped", {})
        damaged = sorted(set(skipped) - {COPY.name})
        if not damaged and not is_all:
            return []
        reason = " ".join([InputError.__name__, *damaged])
        return [Prediction(**common(job, models.stable), outcome="refused", reason=reason)]

    def store(self, objects: Mapping[str, bytes], url: str, folder: Path) -> None:
        """Store what was made in an archive (STOW-RS).

        Args:
            objects: SOPInstanceUID -> bytes.
            url: Of the service.
            folder: Is made, and takes the files.

        Raises:
            ArchiveFailed: Not all of it arrived.
        """
        folder.mkdir()
        paths = []
        for uid, content in objects.items():
            paths.append(folder / f"{uid}.dcm")
            paths[-1].write_bytes(content)
        try:
            with Archive(url, patience=_patience()) as archive:
                require_all(archive.store(paths))
        except (InputError, OutputError) as error:
            raise _failed(error) from None

    def _one(self, entry: VolumeEntry, models: Models, job: Job, place: Path) -> Result:
        job.check()
        row = described(entry)
        served = models.of(row["study_uid"])
        job.told |= served.about
        job.told.setdefault("study_keys", [])
        job.told["study_keys"] = sorted({*job.told["study_keys"], keyed_hash("uid", row["study_uid"])[:16]})
        job.noted.clear()
        base = common(job, served) | {
            "unit_key": entry.key,
            "sop_key": keyed_hash("uid", row["sop_uid"]),
            "study_key": keyed_hash("uid", row["study_uid"]),
            "patient_key": row["patient_key"],
            "attributes": {name: str(row[name]) for name in ATTRIBUTES},
        }
        try:
            return self._served(entry, served, job, place, base, row)
        except (InputError, ContractError) as error:
            findings = sorted(
                {getattr(one, "name", str(one)) for one in (*entry.findings, *getattr(error, "findings", ()))}
            )
            reason = " ".join([type(error).__name__, *findings])
            told = {"key": entry.key, "outcome": "refused", "error": str(error), "findings": findings}
            base |= {"at": time.time(), "features": features(row, entry, {})}
            return Result(told, Prediction(**base, outcome="refused", reason=reason))

    def _served(
        self, entry: VolumeEntry, served: Served, job: Job, place: Path, base: dict[str, Any], row: Mapping[str, Any]
    ) -> Result:
        handle = DicomSeries.from_files(named_files(entry.files, entry.sop_uids), entry.frames)
        handle.key = entry.key
        with job.stage("predict"):
            outputs = served.component(handle, served.handle)
        made = outputs.report if hasattr(outputs, "report") else outputs
        unit = made.record.units[0]
        unit.statements.update(served.blessing.statements() | {"served_as": f"{served.name}/{served.variant}"})
        port = served.component.contract.inputs[0].name
        unit.inputs[port].setdefault("sop_uids", sorted(entry.sop_uids))
        with job.stage("encode"):
            folder = made.save(place / "made" / entry.key)
            record = json.loads((folder / LINEAGE).read_text(encoding="utf-8"))
            objects = {str(made.load().SOPInstanceUID): (folder / made.file_name).read_bytes()}
        self.kept.overview(served, handle, made)
        told_figures = figures(served, outputs, made)
        digest = unit.inputs[port]["digest"]
        numbers = features(row, entry, job.noted.get("features", {}))
        embedded = {"embedding": job.noted.get("embedding", ()), "embedding_kind": job.noted.get("embedding_kind", "")}
        base |= {"at": time.time(), "duration_s": time.monotonic() - job.started}
        prediction = Prediction(**base, **told_figures, **embedded, input_digest=digest, features=numbers)
        told = {
            "key": entry.key,
            "outcome": "answered",
            "prediction_id": prediction.prediction_id,
            **told_figures,
            "objects": sorted(objects),
            **served.about,
        }
        return Result(told, prediction, objects, record)


def _failed(error: ClaimedMedError) -> ArchiveFailed:
    """What an archive did; where the time of the request is over, that is what is said.

    Raises:
        Expired: It is over.
    """
    job = current.get()
    if job is not None:
        job.check()
    return ArchiveFailed(WHERE, error.what, got=error.got, do="see to the archive, then ask again")


def _patience(most_bytes: int = 0) -> Patience:
    """No more than the request has."""
    job = current.get()
    left = _PATIENCE.read_s if job is None else max(1.0, min(_PATIENCE.read_s, job.left_s))
    whole = math.inf if job is None else max(0.0, job.left_s)
    connect = min(left, _PATIENCE.connect_s)
    return replace(_PATIENCE, read_s=left, connect_s=connect, whole_s=whole, most_bytes=most_bytes)


def split_address(url: str) -> tuple[str, str, str]:
    """Service, StudyInstanceUID and SeriesInstanceUID ('' for a study) of `.../studies/UID[/series/UID]`.

    Raises:
        ContractError: It is no such address.
    """
    parts_ = urlsplit(url)
    words = parts_.path.strip("/").split("/")
    series = ""
    if len(words) >= 4 and words[-2] == "series":
        series = words.pop()
        words.pop()
    is_plain = not (parts_.query or parts_.fragment) and not any(one in {"", ".", ".."} or "%" in one for one in words)
    if (
        len(words) < 2
        or words[-2] != "studies"
        or not is_uid(words[-1])
        or (series and not is_uid(series))
        or not is_plain
    ):
        allowed = "https://HOST/PATH/studies/UID[/series/UID]"
        raise ContractError(WHERE, "the address names no study or series", allowed=allowed)
    path = "/".join(words[:-2])
    return f"{parts_.scheme}://{parts_.netloc}/{path}".rstrip("/"), words[-1], series


def failure(results: Sequence[Result]) -> ClaimedMedError | None:
    """Why nothing was made, when nothing was."""
    if any(one.objects for one in results):
        return None
    told = sorted({str(one.told["error"]) for one in results})
    found = sorted({name for one in results for name in one.told["findings"]})
    return InputError(WHERE, "no volume could be used", got=" ".join(told)[:600], findings=found)


def _n_voxels(header: Any) -> int:
    size = (max(1, whole(header, one, 1)) for one in ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel"))
    return math.prod(size)


def _series_of(path: Path) -> str:
    try:
        return str(open_instance(path).dataset.get("SeriesInstanceUID", ""))
    except NotReadable:
        return ""
