"""Write predictions down before they are answered: many requests in one transaction, on a thread of its own."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import orjson

from claimed_med.lineage import now
from claimed_med.prediction_log import Prediction, PredictionLog
from claimed_med.services import serve_metrics
from claimed_med.services.serve_error import WHERE, DiskFull

_MOST_AT_ONCE = 256
Rows = Sequence[Prediction]
Make = Callable[[], Rows]
_LINE = orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE


class Recorder:
    """Hands predictions to the log.

    Args:
        log: Where to.
    """

    def __init__(self, log: PredictionLog) -> None:
        self._log = log
        self._waiting: queue.SimpleQueue[tuple[Make, Future[Rows]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="claimed-med-recorder", daemon=True)
        self._thread.start()

    def record(self, make: Make) -> Future[Rows]:
        """Write predictions; what waits meanwhile is written in the same transaction.

        Args:
            make: Makes them, on the thread that writes.

        Returns:
            Done with the predictions when they are in the database; or holds a DiskFull, or what `make` raised.
        """
        future: Future[Rows] = Future()
        self._waiting.put((make, future))
        return future

    def close(self) -> None:
        """Write what waits, and end."""
        self._waiting.put(None)
        self._thread.join()
        self._log.close()

    def _work(self) -> None:
        is_open = True
        while is_open:
            items, is_open = self._taken()
            with serve_metrics.stage("record").time():
                made = [one for one in map(_made, items) if one is not None]
                if made:
                    self._write(made)

    def _write(self, made: list[tuple[Rows, Future[Rows]]]) -> None:
        try:
            self._log.append([one for rows, _ in made for one in rows])
        except Exception as error:  # noqa: BLE001 - whatever a database client raises, nobody may wait for ever
            kind = type(error).__name__
            refusal = DiskFull(WHERE, "the prediction cannot be recorded, so it is not given", got=kind)
            for _, future in made:
                future.set_exception(refusal)
            return
        for rows, future in made:
            for one in rows:
                serve_metrics.predictions(one.outcome, one.model_digest, one.variant).inc()
            future.set_result(rows)

    def _taken(self) -> tuple[list[tuple[Make, Future[Rows]]], bool]:
        items = []
        first = self._waiting.get()
        while first is not None:
            items.append(first)
            if len(items) >= _MOST_AT_ONCE or self._waiting.empty():
                return items, True
            first = self._waiting.get()
        return items, False


def _made(item: tuple[Make, Future[Rows]]) -> tuple[Rows, Future[Rows]] | None:
    make, future = item
    try:
        return make(), future
    except Exception as error:  # noqa: BLE001 - handed to whoever waits; the others are written
        future.set_exception(error)
        return None


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
        line = orjson.dumps({"time": now(), "kind": kind, **told}, option=_LINE)
        try:
            os.write(self._file, line)
        except OSError as error:
            serve_metrics.LOST.inc()
            sys.stderr.write(f"{WHERE}: an audit line is lost ({type(error).__name__})\n")
