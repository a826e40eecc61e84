"""Write predictions down before they are answered: those of many requests in one transaction."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from claimed_med.prediction_log import Prediction, PredictionLog
from claimed_med.services import serve_metrics
from claimed_med.services.serve_error import WHERE, DiskFull

_MOST_AT_ONCE = 256
Rows = Sequence[Prediction]
Make = Callable[[], Rows]
Done = Callable[[Rows, BaseException | None], None]
_Item = tuple[Make, Done]
_LINE = orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE


class Recorder:
    """Hands predictions to the log: what comes while it writes goes into the next transaction, all of it together.

    There is no thread for it, which every request would have to wait to wake up: who comes while nobody writes, writes,
    and goes on as long as others come.

    Args:
        log: Where to.
    """

    def __init__(self, log: PredictionLog) -> None:
        self._log = log
        self._waiting: deque[_Item] = deque()
        self._lock, self._is_writing = threading.Lock(), False
        self._idle = threading.Condition(self._lock)

    def record(self, make: Make) -> Future[Rows]:
        """Write predictions; may take as long as the database does, so never call it on the loop.

        Args:
            make: Makes them, on the thread that writes.

        Returns:
            Done with the predictions when they are in the database; or holds a DiskFull, or what `make` raised.
        """
        future: Future[Rows] = Future()
        future.set_running_or_notify_cancel()  # who gives up waiting cannot cancel it under the thread that writes

        def on_done(rows: Rows, error: BaseException | None) -> None:
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(rows)

        self.put(make, on_done)
        self.flush()
        return future

    def put(self, make: Make, on_done: Done) -> None:
        """Leave predictions to be written by the next `flush`, of whichever thread.

        Args:
            make: Makes them, on the thread that writes.
            on_done: Called by that thread with the predictions when they are in the database; or with none and why not.
        """
        with self._lock:
            self._waiting.append((make, on_done))

    def flush(self) -> None:
        """Write what waits, unless another thread is at it, which then does; as slow as `record`."""
        with self._lock:
            if self._is_writing or not self._waiting:
                return
            self._is_writing = True
        while items := self._taken():
            started = time.perf_counter()
            self._write([one for one in map(_made, items) if one is not None])
            serve_metrics.note(serve_metrics.stage("record"), time.perf_counter() - started)

    def close(self) -> None:
        """Write what waits, wait until all is written, and end."""
        self.flush()
        with self._idle:
            self._idle.wait_for(lambda: not self._is_writing)
        self._log.close()

    def _write(self, made: list[tuple[Rows, Done]]) -> None:
        try:
            if made:
                self._log.append([one for rows, _ in made for one in rows])
        except Exception as error:  # noqa: BLE001 - whatever a database client raises, nobody may wait for ever
            kind = type(error).__name__
            refusal = DiskFull(WHERE, "the prediction cannot be recorded, so it is not given", got=kind)
            for _, on_done in made:
                _tell(on_done, (), refusal)
            return
        for rows, on_done in made:
            for one in rows:
                serve_metrics.predictions(one.outcome, one.model_digest, one.variant).inc()
            _tell(on_done, rows)

    def _taken(self) -> list[_Item]:
        """What to write next; nothing when that is all, and this thread writes no more."""
        with self._lock:
            items = [self._waiting.popleft() for _ in range(min(_MOST_AT_ONCE, len(self._waiting)))]
            if not items:
                self._is_writing = False
                self._idle.notify_all()
            return items


def _made(item: _Item) -> tuple[Rows, Done] | None:
    make, on_done = item
    try:
        return make(), on_done
    except Exception as error:  # noqa: BLE001 - handed to whoever waits; the others are written
        _tell(on_done, (), error)
        return None


def _tell(on_done: Done, rows: Rows, error: BaseException | None = None) -> None:
    with contextlib.suppress(Exception):  # such as a loop that is closed; the others are told
        on_done(rows, error)


@lru_cache(2)
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().removesuffix("+00:00")


class Audit:
    """One JSON line a request: who, what, which model, what became of it. Pseudonyms only.

    Args:
        path: File to append to; '' for standard output.
    """

    def __init__(self, path: str) -> None:
        self._path, self._file = path, -1
        self.reopen()

    def reopen(self) -> None:
        """Open the file anew, after it was rotated away."""
        before, self._file = self._file, 1
        if self._path:
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        if before > 2:
            os.close(before)

    def write(self, kind: str, told: Mapping[str, Any]) -> None:
        """Append one line."""
        at = time.time()
        now = f"{_second(int(at))}.{int(at % 1 * 1000):03d}+00:00"
        line = orjson.dumps({"time": now, "kind": kind, **told}, option=_LINE)
        try:
            os.write(self._file, line)
        except OSError as error:
            serve_metrics.LOST.inc()
            sys.stderr.write(f"{WHERE}: an audit line is lost ({type(error).__name__})\n")
