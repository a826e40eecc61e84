"""Who may ask what, and how much: the first thing that an HTTP request meets. Nothing is read before it is allowed."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any, Protocol
from urllib.parse import urlsplit

import orjson

from claimed_med.dicom.web_auth import is_loopback
from claimed_med.errors import ClaimedMedError
from claimed_med.services import serve_caller, serve_job, serve_metrics
from claimed_med.services.serve_error import (
    WHERE,
    Busy,
    Cancelled,
    Draining,
    Expired,
    Forbidden,
    NoToken,
    NotTaken,
    NotThere,
    ServeError,
    TooLarge,
    statuses,
    told,
    understood,
)
from claimed_med.services.serve_job import Job
from claimed_med.services.serve_options import Options
from claimed_med.services.serve_record import Audit
from claimed_med.services.serve_trace import span

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
_HEALTH = ("/v2/health/live", "/v2/health/ready")
_OPEN = frozenset({"/", *_HEALTH})
BODIES = 2  # so many of the largest bodies may be in memory at once
_MOST_SECONDS = "x-request-timeout-s"


class App(Protocol):
    """An ASGI application."""

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection."""


class Door:
    """Counts who is inside, and lets nobody in who may not.

    Args:
        options: Of the server.
        audit: Gets a line for every request but those for health and metrics.
    """

    def __init__(self, options: Options, audit: Audit) -> None:
        self.options, self.audit = options, audit
        self.tokens: Mapping[str, str] = options.tokens
        self.is_ready, self.is_draining = False, False
        self.n_inside, self.n_bytes = 0, 0
        serve_metrics.IN_FLIGHT.set_function(lambda: self.n_inside)
        self.most_inside = options.max_waiting + options.max_batch + options.n_dicom

    def caller(self, authorization: str, certificate: str = "") -> str:
        """The name of who asks.

        Raises:
            NoToken: It does not say, or no token is known by that.
        """
        if not self.tokens:
            return certificate or "anonymous"
        scheme, _, token = authorization.partition(" ")
        given = sha256(token.strip().encode()).hexdigest()
        found = [name for name, known in self.tokens.items() if hmac.compare_digest(known, given)]
        if scheme.lower() != "bearer" or not found:
            raise NoToken(WHERE, "no token, or an unknown one", do="send Authorization: Bearer TOKEN")
        return found[0]

    def enter(self) -> None:
        """Let one in.

        Raises:
            Draining: The server stops.
            Busy: There are as many inside as can be.
        """
        if self.is_draining:
            raise Draining(WHERE, "the server stops", do="ask another one")
        if self.n_inside >= self.most_inside:
            raise Busy(WHERE, "the queue is full", got=f"{self.n_inside} requests", do="try again later")
        self.n_inside += 1

    def hold(self, size: int) -> None:
        """Count bytes of a body that came into memory, not those that somebody claims to send.

        Raises:
            Busy: There is no room for them.
        """
        if self.n_bytes + size > BODIES * self.options.max_upload:
            raise Busy(WHERE, "the bodies of other requests fill the memory", do="try again later")
        self.n_bytes += size

    def leave(self, job: Job, status: int) -> None:
        """Let one out, and write the line about it; arguments as of `note`."""
        self.n_inside -= 1
        self.note(job, status)

    def note(self, job: Job, status: int) -> None:
        """Count and audit an answer."""
        seconds = time.monotonic() - job.started
        count, times = serve_metrics.answers(job.route, status, str(job.told.get("variant", "")))
        count.inc()
        serve_metrics.note(times, seconds)
        head = {"request_id": job.written_id, "caller": job.caller, "route": job.route, "status": status}
        self.audit.write("request", {**head, "seconds": round(seconds, 4), **job.told})

    async def drain(self) -> float:
        """Take nothing new, and wait until all are out, as long as grace allows; returns what is left of it [s]."""
        self.is_draining, self.is_ready = True, False
        end = time.monotonic() + self.options.grace_s
        while self.n_inside and time.monotonic() < end:  # noqa: ASYNC110 - once, at the end of a process
            await asyncio.sleep(0.02)
        return max(0.0, end - time.monotonic())


class Guard:
    """ASGI middleware around all of the application.

    Args:
        app: What is guarded.
        door: The server's.
    """

    def __init__(self, app: App, door: Door) -> None:
        self.app, self.door = app, door

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one HTTP request, or none."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if scope["path"] in _OPEN and scope["method"] == "GET":
            await self.app(scope, receive, send)
            return
        options = self.door.options
        deadline = time.monotonic() + _seconds(headers, options.deadline_s)
        job = Job(_route(scope["path"], headers), deadline, serve_job.request_id(headers.get("x-request-id", "")))
        answer = _Answer(send, job)
        inside, body = False, Body(receive, job, self.door)
        try:
            self._check(scope, headers, job)
            if scope["method"] == "POST":
                self.door.enter()
                inside = True
            serve_job.current.set(job)
            with span(f"{scope['method']} {job.route}", headers, route=job.route):
                await self.app(scope, body.receive, answer.send)
        except Exception as error:  # noqa: BLE001 - every error gets an answer, and none a foreign text
            await answer.refuse(understood(error))
        finally:
            self.door.n_bytes -= body.n_held
            if inside:
                self.door.leave(job, answer.status)
            elif scope["path"] != "/metrics" or answer.status != 200:
                self.door.note(job, answer.status)

    def _check(self, scope: dict[str, Any], headers: Mapping[str, str], job: Job) -> None:
        options, path = self.door.options, scope["path"]
        if not (path == "/metrics" and options.open_metrics):
            job.caller = self.door.caller(headers.get("authorization", ""), serve_caller.of_scope(scope))
        _check_browser(headers, options)
        if path.startswith("/v2/repository") or ".." in path or "\0" in path or "//" in path:
            raise NotThere(WHERE, "there is nothing at this path")
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise NotTaken(WHERE, "content is taken as it is only", allowed="no Content-Encoding")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > options.max_upload:
            raise _too_large(options.max_upload)


class Body:
    """The body of a request as it comes: no more than is taken, and no longer than the request may last.

    Args:
        receive: Of the connection.
        job: The request.
        door: Counts what is in memory; bodies of DICOM go to the disk.
    """

    def __init__(self, receive: Receive, job: Job, door: Door) -> None:
        self._receive, self._job, self._door = receive, job, door
        self._keeps, self._is_whole = job.route != "dicom", False
        self.n_taken = self.n_held = 0

    async def receive(self) -> dict[str, Any]:
        """The next message; once the body is whole, that is the end of the connection, whenever it comes.

        Raises:
            Expired: The deadline passed before the body was whole.
            TooLarge: More came than is taken.
            Busy: The bodies of others fill the memory.
            Cancelled: The caller has gone before the body was whole, or before anybody came to read it.
        """
        if self._is_whole:
            return await self._receive()
        try:
            async with asyncio.timeout(max(0.0, self._job.left_s)):
                message = await self._receive()
        except TimeoutError:
            raise Expired(WHERE, "the body did not come in time", do="allow more time, or send less") from None
        if message["type"] == "http.disconnect":
            raise Cancelled(WHERE, "the caller has gone")
        size, most = len(message.get("body", b"")), self._door.options.max_upload
        self.n_taken += size
        if self.n_taken > most:
            raise _too_large(most)
        if self._keeps and size:
            self._door.hold(size)
            self.n_held += size
        self._is_whole = not message.get("more_body", False)
        return message


class _Answer:
    """Sends one answer, and knows whether it has begun."""

    def __init__(self, send: Send, job: Job) -> None:
        self._send, self._job, self.status = send, job, 0

    async def send(self, message: dict[str, Any]) -> None:
        """Pass a message on, with the name of the request."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", []), (b"x-request-id", self._job.request_id.encode())]
        await self._send(message)

    async def refuse(self, error: ClaimedMedError) -> None:
        """Answer with an error, where no answer has begun."""
        if self.status:
            return
        status, _ = statuses(error)
        self._job.told.setdefault("error", type(error).__name__)
        if isinstance(error, Cancelled):
            self.status = status
            return
        body = orjson.dumps(told(error, self._job.request_id))
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if isinstance(error, ServeError) and status in {429, 503}:
            headers.append((b"retry-after", b"1"))
        if status in {401, 413, 415, 503, 504}:
            headers.append((b"connection", b"close"))  # the rest of the body is never read
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _check_browser(headers: Mapping[str, str], options: Options) -> None:
    """Refuse what a foreign page makes a browser send, also by a name that it has turned to this machine."""
    if "origin" in headers:
        raise Forbidden(WHERE, "requests of web pages are not taken")
    if not options.tokens and _is_here(options.host) and not _names_loopback(headers.get("host", "")):
        raise Forbidden(WHERE, "the request names another host", allowed="127.0.0.1, localhost")


_is_here = lru_cache(1)(is_loopback)


@lru_cache(64)  # most requests name the same one; who makes many up finds no room
def _names_loopback(host: str) -> bool:
    return is_loopback(urlsplit(f"//{host}").hostname or "")


def _route(path: str, headers: Mapping[str, str]) -> str:
    if path.endswith(":explain"):
        return "explain"
    if path.endswith(":predict"):
        kind = headers.get("content-type", "").split(";")[0].strip().lower()
        return "dicom" if kind == "application/dicom" or kind.startswith("multipart/") else "v1"
    return "v2" if path.endswith("/infer") else "other"


def _seconds(headers: Mapping[str, str], most: float) -> float:
    try:
        given = float(headers.get(_MOST_SECONDS, most))
    except ValueError:
        return most
    return min(most, given) if given > 0 else most


def _too_large(most: int) -> TooLarge:
    return TooLarge(WHERE, "the body is larger than is taken", allowed=f"{most >> 20} MiB", do="send less at once")
