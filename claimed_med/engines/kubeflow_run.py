"""One run on Kubeflow, followed from here: asked for again while the network is away, found again by a later command.

A run goes on in the cluster whatever happens to who follows it. Its number therefore lies in the run folder until it
was followed to its end; the same command, into the same folder, follows it then, and starts no second one.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from claimed_med.errors import EngineError
from claimed_med.payload import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOTE = "kubeflow-run.json"
_TIMEOUT_S = 30.0
_LONGEST_PAUSE_S = 60.0
_PASSING = frozenset({0, 408, 425, 429, 500, 502, 503, 504})  # of HTTP; 0 is what the client makes of a TLS error


@dataclass(frozen=True)
class Note:
    """The run that goes on in the cluster.

    Attributes:
        place: File in the run folder.
        order: Digest of what was asked for: pipeline, platform, parameters.
    """

    place: Path
    order: str

    def run_id(self) -> str:
        """The run that an earlier command started and did not follow to its end, or ''.

        Raises:
            EngineError: That command asked for something else.
        """
        try:
            told = json.loads(self.place.read_text(encoding="utf-8"))
            order, run_id = str(told["order"]), str(told["run_id"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""
        if order != self.order:
            raise EngineError(
                "kubeflow",
                "a run of another pipeline, or with other parameters, goes on into this folder",
                got=run_id,
                do=f"choose another --out, or remove {NOTE} to leave that run to itself",
            )
        return run_id

    def write(self, run_id: str) -> None:
        """Keep the number of the run that was started."""
        write_atomic(self.place, json.dumps({"order": self.order, "run_id": run_id}) + "\n")

    def remove(self) -> None:
        """Forget the run: it was followed to its end."""
        self.place.unlink(missing_ok=True)


def asked(client: Any, run_id: str, *, pause_s: float, patience_s: float) -> Any:
    """The state of a run; asked for again, at growing intervals, while nobody answers.

    Args:
        client: Of kfp.
        run_id: Which run.
        pause_s: Before the second question [s]; then twice as long each time, up to a minute.
        patience_s: For how long [s].

    Raises:
        EngineError: Nobody answered for so long, or the answer is a refusal; the run goes on.
    """

    def ask() -> Any:
        return client._run_api.run_service_get_run(run_id=run_id, _request_timeout=_TIMEOUT_S)  # noqa: SLF001 - get_run waits for ever

    return _patiently(ask, run_id, pause_s, patience_s)


def is_known(client: Any, run_id: str, *, pause_s: float, patience_s: float) -> bool:
    """Whether the server still knows a run.

    Raises:
        EngineError: As `asked`.
    """
    try:
        asked(client, run_id, pause_s=pause_s, patience_s=patience_s)
    except UnknownRunError:
        return False
    return True


class UnknownRunError(EngineError):
    """The server knows no such run."""


def network_errors() -> tuple[type[Exception], ...]:
    """What the client raises when nobody answers."""
    from urllib3.exceptions import HTTPError

    return (HTTPError, OSError)


def _patiently(ask: Callable[[], Any], run_id: str, pause_s: float, patience_s: float) -> Any:
    from kfp_server_api.exceptions import ApiException

    since, pause = time.monotonic(), pause_s
    while True:
        try:
            return ask()
        except ApiException as error:
            why = f"HTTP {error.status}"
            if error.status == 404:
                raise UnknownRunError("kubeflow", "the server knows no such run", got=run_id) from None
            if error.status not in _PASSING:
                raise _left(run_id, "the server refused to tell of the run", why) from None
        except network_errors() as error:
            why = type(error).__name__
        if time.monotonic() - since + pause > patience_s:
            raise _left(run_id, "the server did not answer", why)
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S)


def _left(run_id: str, what: str, why: str) -> EngineError:
    return EngineError(
        "kubeflow",
        f"{what}; run {run_id} goes on in the cluster",
        got=why,
        do="run the same command again, with the same --out: it follows this run and starts no other",
    )
