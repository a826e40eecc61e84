"""One request on its way through the server: name, deadline, stages with times and spans, and what became of it."""

from __future__ import annotations

import contextlib
import os
import re
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from claimed_med.secret import keyed_hash
from claimed_med.services import serve_metrics
from claimed_med.services.serve_error import WHERE, Cancelled, Expired
from claimed_med.services.serve_trace import span

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE)
current: ContextVar[Job | None] = ContextVar("claimed_med_job", default=None)


def new_id() -> str:
    """A name that no other request has."""
    return os.urandom(16).hex()


class Flag:
    """Set once, by any thread; waited for by none, so that it needs no lock."""

    __slots__ = ("_is_set",)

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        """Set it."""
        self._is_set = True

    def is_set(self) -> bool:
        """Whether it is."""
        return self._is_set


class Stage:
    """Times a block, and opens a span for it.

    Args:
        name: Of the stage.
    """

    __slots__ = ("_name", "_span", "_started")

    def __init__(self, name: str) -> None:
        self._name, self._span, self._started = name, span(name), 0.0

    def __enter__(self) -> None:
        """Begin."""
        self._span.__enter__()
        self._started = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        """End; an error goes on."""
        serve_metrics.note(serve_metrics.stage(self._name), time.perf_counter() - self._started)
        self._span.__exit__(*error)  # type: ignore[arg-type]


@dataclass
class Job:
    """A request.

    Attributes:
        route: `v1`, `v2`, `grpc`, `dicom`, `explain`, or `other`.
        deadline: Of `time.monotonic()`.
        request_id: From the caller where it is a plain word, else a new one; told to the caller, and to nobody else.
        caller: Name of the token, digest of the certificate, or `anonymous`.
        started: Of `time.monotonic()`.
        cancelled: Set when nobody waits any more.
        told: What the audit line says besides: model, digest, variant, counts, pseudonyms.
        noted: What was found on the way, for the record of predictions: embedding, intensities.
    """

    route: str
    deadline: float
    request_id: str = field(default_factory=new_id)
    caller: str = "anonymous"
    started: float = field(default_factory=time.monotonic)
    cancelled: Flag = field(default_factory=Flag)
    told: dict[str, Any] = field(default_factory=dict)
    noted: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def written_id(self) -> str:
        """The name of the request in audit and record: a UUID as it is, of any other word a keyed hash.

        A caller may have made a word of an accession number or a name.
        """
        return self.request_id if _UUID.fullmatch(self.request_id) else keyed_hash("request", self.request_id)[:32]

    @property
    def left_s(self) -> float:
        """Time until the deadline [s]."""
        return self.deadline - time.monotonic()

    def check(self) -> None:
        """Stop here when the work is in vain.

        Raises:
            Cancelled: Nobody waits.
            Expired: The deadline has passed.
        """
        if self.cancelled.is_set():
            raise Cancelled(WHERE, "the caller has gone")
        if self.left_s <= 0:
            raise Expired(WHERE, "the deadline has passed", do="allow more time, or send less")

    def stage(self, name: str) -> Stage:
        """Time a stage, and open a span for it."""
        return Stage(name)


def request_id(given: str) -> str:
    """The caller's name of a request where it can stand in a header, else a new one."""
    return given if _ID.fullmatch(given) else new_id()


def stage(name: str) -> contextlib.AbstractContextManager[None]:
    """A stage of the request that this thread or task works on."""
    job = current.get()
    return job.stage(name) if job is not None else contextlib.nullcontext()
