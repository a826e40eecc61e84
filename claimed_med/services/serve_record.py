"""Write predictions down before they are answered: many requests in one transaction, on a thread of its own."""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from claimed_med.lineage import now
from claimed_med.prediction_log import Prediction, PredictionLog
from claimed_med.services import serve_metrics
from claimed_med.services.serve_error import WHERE, DiskFull

_MOST_AT_ONCE = 256


class Recorder:
    """Hands predictions to the log.

    Args:
        log: Where to.
    """

    def __init__(self, log: PredictionLog) -> None:
        self._log = log
        self._waiting: queue.SimpleQueue[tuple[Sequence[Prediction], Future[None]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="claimed-med-recorder", daemon=True)
        self._thread.start()

    def record(self, predictions: Sequence[Prediction]) -> Future[None]:
        """Write predictions; the future is done when they are in the database, or holds a DiskFull."""
        future: Future[None] = Future()
        self._waiting.put((predictions, future))
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
            if not items:
                continue
            started = time.perf_counter()
            try:
                self._log.append([one for predictions, _ in items for one in predictions])
            except Exception as error:  # noqa: BLE001 - whatever a database client raises, nobody may wait for ever
                kind = type(error).__name__
                refusal = DiskFull(WHERE, "the prediction cannot be recorded, so it is not given", got=kind)
                for _, future in items:
                    future.set_exception(refusal)
            else:
                for predictions, future in items:
                    for one in predictions:
                        serve_metrics.PREDICTIONS.labels(one.outcome, one.model_digest, one.variant).inc()
                    future.set_result(None)
            serve_metrics.STAGE.labels("record").observe(time.perf_counter() - started)

    def _taken(self) -> tuple[list[tuple[Sequence[Prediction], Future[None]]], bool]:
        items = []
        first = self._waiting.get()
        while first is not None:
            items.append(first)
            if len(items) >= _MOST_AT_ONCE or self._waiting.empty():
                return items, True
            first = self._waiting.get()
        return items, False


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
        line = json.dumps({"time": now(), "kind": kind, **told}, sort_keys=True) + "\n"
        try:
            os.write(self._file, line.encode())
        except OSError as error:
            serve_metrics.LOST.inc()
            sys.stderr.write(f"{WHERE}: an audit line is lost ({type(error).__name__})\n")
