"""OpenLineage events of a run, while it goes on: to a file by default, to a collector when OPENLINEAGE_URL is set.

What the standard client understands is understood here too: OPENLINEAGE_URL, OPENLINEAGE_ENDPOINT,
OPENLINEAGE_API_KEY, OPENLINEAGE_NAMESPACE, OPENLINEAGE_DISABLED, OPENLINEAGE_PARENT_ID. The file is the one that
CLAIMED_MED_EVENTS names. An event that cannot be delivered never fails a run. Events hold digests, UIDs and settings
as the record does, never a path or a patient attribute. Standard library only.

Source:
    OpenLineage 2-0-2, https://openlineage.io/spec/2-0-2/OpenLineage.json
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
import threading
import urllib.request
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimed_med.lineage import now, package_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from claimed_med.lineage import Record

SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
FACETS = "https://openlineage.io/spec/facets/"
PARENT, FILE = "OPENLINEAGE_PARENT_ID", "CLAIMED_MED_EVENTS"
_TIMEOUT_S = 3.0
_MOST_BYTES = 64 << 20
_failed, _telling = threading.Event(), threading.Lock()


@dataclass
class Run:
    """One run that events tell of.

    Attributes:
        job: Name of the component or pipeline.
        kind: `COMPONENT` or `PIPELINE`.
        facets: More facets of the run, by name.
        run_id: A UUID of its own.
        parent: `namespace/job/run id` of the run that started it, or ''.
        code: Exit code with which it ended without an exception.
    """

    job: str
    kind: str = "COMPONENT"
    facets: dict[str, Any] = field(default_factory=dict)
    run_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    parent: str = field(default_factory=lambda: os.environ.get(PARENT, ""))
    code: int = 0

    @property
    def name(self) -> str:
        """What the runs that it starts get as OPENLINEAGE_PARENT_ID."""
        return f"{_namespace()}/{self.job}/{self.run_id}"


@contextlib.contextmanager
def told(run: Run, records: list[Record]) -> Iterator[Run]:
    """Tell that a run starts, and how it ended.

    Args:
        run: What runs.
        records: Of its output ports; looked at when the run has ended.
    """
    emit(event("START", run))
    try:
        yield run
    except BaseException as error:
        emit(event("FAIL", run, error=_text_of(error)))
        finish()
        raise
    if run.code:
        emit(event("FAIL", run, records, error=f"ended with exit code {run.code}"))
    else:
        emit(event("COMPLETE", run, records))
    finish()


def event(kind: str, run: Run, records: Iterable[Record] = (), *, error: str = "") -> dict[str, Any]:
    """One event.

    Args:
        kind: START, COMPLETE, FAIL or ABORT.
        run: What it is about.
        records: Of the output ports.
        error: Text of the error, or ''; ours never hold a patient attribute.
    """
    listed = list(records)
    engine = {"version": package_version(), "name": "claimed_med"}
    facets = {"processing_engine": _facet("1-1-1/ProcessingEngineRunFacet", **engine)}
    facets |= {name: _facet("", **content) for name, content in run.facets.items()}
    if run.parent.count("/") >= 2:
        space, job, run_id = run.parent.rsplit("/", 2)
        facets["parent"] = _facet("1-0-1/ParentRunFacet", run={"runId": run_id}, job={"namespace": space, "name": job})
    if error:
        facets["errorMessage"] = _facet("1-0-1/ErrorMessageRunFacet", message=error, programmingLanguage="Python")
    for record in listed[:1]:
        facets["claimed_med_run"] = _facet(
            "",
            component=record.component,
            version=record.version,
            settings=record.settings,
            weights=record.weights,
            identities={unit.key: unit.identity for unit in record.units},
            environment=record.environment,
        )
    return {
        "eventType": kind,
        "eventTime": now(),
        "producer": _producer(),
        "schemaURL": SCHEMA,
        "run": {"runId": run.run_id, "facets": facets},
        "job": {
            "namespace": _namespace(),
            "name": run.job,
            "facets": {
                "jobType": _facet(
                    "2-0-3/JobTypeJobFacet", processingType="BATCH", integration="CLAIMED_MED", jobType=run.kind
                )
            },
        },
        "inputs": _inputs(listed),
        "outputs": [_output(record) for record in listed],
    }


def emit(content: Mapping[str, Any]) -> None:
    """Deliver one event; to a collector without waiting for it."""
    is_helper = os.environ.get("RANK", "0") != "0" and "WORLD_SIZE" in os.environ  # of a distributed run
    if is_helper or os.environ.get("OPENLINEAGE_DISABLED", "").lower() in {"1", "true"}:
        return
    line = json.dumps(content, sort_keys=True)
    if os.environ.get("OPENLINEAGE_URL", "") and not _failed.is_set():
        sender = threading.Thread(target=_post, args=(line,), name="openlineage", daemon=True)
        sender.start()
    else:
        _append(line)


def finish() -> None:
    """Wait for events on their way, not longer than a few seconds."""
    for thread in threading.enumerate():
        if thread.name == "openlineage":
            thread.join(_TIMEOUT_S)


def forward(path: Path) -> None:
    """Deliver the events that a run without a network left in a file; whatever else stands in it is left out.

    Args:
        path: Written by that run, which is not trusted: no link and nothing but a plain file is read.
    """
    for line in _plain_text(path).splitlines():
        with contextlib.suppress(ValueError):
            content = json.loads(line)
            if isinstance(content, dict) and content.get("schemaURL") == SCHEMA:
                emit(content)


def _plain_text(path: Path) -> str:
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, encoding="utf-8", errors="replace") as stream:
            if stat.S_ISREG(os.fstat(handle).st_mode):
                return stream.read(_MOST_BYTES)
    return ""


def handed_on() -> dict[str, str]:
    """What a run elsewhere must know to tell of itself as if it ran here; its events go to a file there."""
    return {name: os.environ[name] for name in ("OPENLINEAGE_NAMESPACE", "OPENLINEAGE_DISABLED") if name in os.environ}


def default_file() -> Path:
    """Where events go: CLAIMED_MED_EVENTS, else a file in the user's state folder."""
    if given := os.environ.get(FILE, ""):
        return Path(given)
    base = os.environ.get("XDG_STATE_HOME", "") or Path.home() / ".local" / "state"
    return Path(base) / "claimed_med" / "openlineage.jsonl"


def _append(line: str) -> None:
    with contextlib.suppress(OSError, RuntimeError):
        path = default_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and path.stat().st_size > _MOST_BYTES:
            path.replace(path.with_suffix(".old.jsonl"))
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode() + b"\n")  # one write: lines of several processes never mix
        finally:
            os.close(handle)


def _post(line: str) -> None:
    base = os.environ["OPENLINEAGE_URL"].rstrip("/")
    url = f"{base}/{os.environ.get('OPENLINEAGE_ENDPOINT', 'api/v1/lineage').lstrip('/')}"
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("OPENLINEAGE_API_KEY", ""):
        headers["Authorization"] = f"Bearer {key}"
    try:
        if not base.startswith(("http://", "https://")):
            raise ValueError  # noqa: TRY301 - the same warning as for any other address that does not work
        request = urllib.request.Request(url, line.encode(), headers, method="POST")  # noqa: S310 - checked above
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - as above
            answer.read()
    except Exception as error:  # noqa: BLE001 - whatever a collector does, the run goes on
        with _telling:
            is_first = not _failed.is_set()
            _failed.set()
        if is_first:
            told = type(error).__name__
            print(f"openlineage: the collector took no event ({told}); events go to a file", file=sys.stderr)
        _append(line)


def _inputs(records: list[Record]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for record in records[:1]:
        for port, parent in record.parents.items():
            payload = record.ancestors.get(parent, {}).get("payload", "")
            name = f"sha256:{payload}" if payload else f"record:{parent}"
            found[name] = _dataset(name, {"port": port, "record": parent})
        for name, value in record.locations.items():
            found[f"sha256:{value}"] = _dataset(f"sha256:{value}", {"setting": name})
        for unit in record.units:
            for port, told_of in unit.inputs.items():
                if port not in record.parents:
                    name = f"sha256:{told_of['digest']}"
                    found[name] = _dataset(name, {"port": port, "unit": unit.key})
    return [found[name] for name in sorted(found)]


def _output(record: Record) -> dict[str, Any]:
    told_of = {"port": record.port, "record": record.digest(), "n_files": len(record.files)}
    return _dataset(f"sha256:{record.payload}", told_of)


def _dataset(name: str, told_of: dict[str, Any]) -> dict[str, Any]:
    return {"namespace": "claimed_med", "name": name, "facets": {"claimed_med": _facet("", **told_of)}}


def _facet(schema: str, **content: Any) -> dict[str, Any]:
    url = f"{FACETS}{schema}.json" if schema else f"{_producer()}:facet"
    return {"_producer": _producer(), "_schemaURL": url, **content}


def _producer() -> str:
    return f"urn:claimed_med:{package_version()}"


def _namespace() -> str:
    return os.environ.get("OPENLINEAGE_NAMESPACE", "") or "claimed_med"


def _text_of(error: BaseException) -> str:
    from claimed_med.errors import ClaimedMedError

    return str(error) if isinstance(error, ClaimedMedError) else type(error).__name__
