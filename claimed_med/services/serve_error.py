"""What a server says of an error: HTTP status, gRPC status, and a text that never quotes another library."""

from __future__ import annotations

import errno
import re
from typing import Any

from claimed_med.errors import (
    ClaimedMedError,
    ContractError,
    InputError,
    MissingDependencyError,
    OutputError,
    RefusedError,
)
from claimed_med.execute import explain

WHERE = "serve"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_MEMORY = re.compile(r"can't allocate memory|out of memory|bad_alloc", re.IGNORECASE)


class ServeError(ClaimedMedError):
    """A request that is not served; each kind has its statuses."""

    http = 500
    grpc = "INTERNAL"


class Busy(ServeError):  # noqa: N818 - names an answer
    """The queue is full."""

    http, grpc = 429, "RESOURCE_EXHAUSTED"


class Draining(ServeError):  # noqa: N818 - names an answer
    """The server stops and takes nothing new."""

    http, grpc = 503, "UNAVAILABLE"


class Expired(ServeError):  # noqa: N818 - names an answer
    """The deadline has passed."""

    http, grpc = 504, "DEADLINE_EXCEEDED"


class Cancelled(ServeError):  # noqa: N818 - names an answer
    """Nobody waits for the answer any more."""

    http, grpc = 499, "CANCELLED"


class TooLarge(ServeError):  # noqa: N818 - names an answer
    """More bytes or voxels than are taken."""

    http, grpc = 413, "RESOURCE_EXHAUSTED"


class NoToken(ServeError):  # noqa: N818 - names an answer
    """Who asks does not say who it is."""

    http, grpc = 401, "UNAUTHENTICATED"


class Forbidden(ServeError):  # noqa: N818 - names an answer
    """This may not be asked."""

    http, grpc = 403, "PERMISSION_DENIED"


class NotThere(ServeError):  # noqa: N818 - names an answer
    """There is no such model or path."""

    http, grpc = 404, "NOT_FOUND"


class NotTaken(ServeError):  # noqa: N818 - names an answer
    """A form of content that is not taken."""

    http, grpc = 415, "INVALID_ARGUMENT"


class NoMemory(ServeError):  # noqa: N818 - names an answer
    """Not enough memory for this request."""

    http, grpc = 503, "RESOURCE_EXHAUSTED"


class DiskFull(ServeError):  # noqa: N818 - names an answer
    """The disk, or the record of predictions, takes nothing any more."""

    http, grpc = 507, "RESOURCE_EXHAUSTED"


class ArchiveFailed(ServeError):  # noqa: N818 - names an answer
    """The archive of a request does not answer, or not as it should."""

    http, grpc = 502, "UNAVAILABLE"


_KINDS: tuple[tuple[type[ClaimedMedError], int, str], ...] = (
    (ContractError, 400, "INVALID_ARGUMENT"),
    (InputError, 422, "INVALID_ARGUMENT"),
    (RefusedError, 403, "FAILED_PRECONDITION"),
    (MissingDependencyError, 501, "UNIMPLEMENTED"),
    (OutputError, 500, "INTERNAL"),
)


def understood(error: BaseException) -> ClaimedMedError:
    """An error of any library as one of ours; texts of others are withheld, since they may quote a header."""
    if isinstance(error, ClaimedMedError):
        return error
    if isinstance(error, OSError) and error.errno in _FULL:
        return DiskFull(WHERE, "the disk is full", do="try again later")
    if isinstance(error, MemoryError) or _MEMORY.search(str(error)):
        return NoMemory(WHERE, "not enough memory for this request", do="send less at once")
    if isinstance(error, TimeoutError):
        return Expired(WHERE, "the deadline has passed")
    return ServeError(WHERE, str(explain(error, WHERE)["text"]).removeprefix(f"{WHERE}: ").rstrip("."))


def statuses(error: ClaimedMedError) -> tuple[int, str]:
    """HTTP status and name of the gRPC status."""
    if isinstance(error, ServeError):
        return error.http, error.grpc
    return next(((http, grpc) for kind, http, grpc in _KINDS if isinstance(error, kind)), (500, "INTERNAL"))


def told(error: ClaimedMedError, request_id: str) -> dict[str, Any]:
    """The body of an answer that says no."""
    findings = [getattr(one, "name", str(one)) for one in getattr(error, "findings", ())]
    return {"error": str(error), "kind": type(error).__name__, "findings": findings, "request_id": request_id}
