"""The threads that compute: one task each at a time, images of waiting requests together (dynamic batching).

A batch is what waits at the moment when a thread is free, shared out among the threads that are: nothing is delayed to
fill it. Float results change in the last bits with the size of a batch (see docs/serving.md); with `max_batch` 1 they
are those of the component.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any

from claimed_med.services import serve_job, serve_metrics
from claimed_med.services.serve_error import WHERE, Busy
from claimed_med.services.serve_job import Job
from claimed_med.services.serve_outcome import Outcome
from claimed_med.workers import limit_threads


@dataclass
class Task:
    """Something to compute.

    Attributes:
        run: Content of one or more tasks of one kind -> one result each.
        content: What it is run on.
        kind: Tasks of the same kind can be computed together; None for tasks that stand alone.
        n_images: Of the content.
        job: The request, whose deadline and cancellation count.
        outcome: What becomes of it.
        after: Called once by the thread that computed, when all that it computed together have their outcomes.
    """

    run: Callable[[Sequence[Any]], Sequence[Any]]
    content: Any
    kind: Any = None
    n_images: int = 1
    job: Job | None = None
    outcome: Outcome[Any] = field(default_factory=Outcome)
    after: Callable[[], None] | None = None
    context: Context = field(default_factory=copy_context)
    arrived: float = field(default_factory=time.perf_counter)

    def is_wanted(self) -> bool:
        """Whether to compute it; sets the reason where not."""
        try:
            if self.job is not None:
                self.job.check()
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            self.outcome.set_exception(error)
            return False
        return True


class Lane:
    """A queue with threads.

    Args:
        n_threads: Numeric threads of each, as of the component.
        max_batch: Most images at once; 1 for no batching.
        max_waiting: Most tasks that wait.
        n_workers: Threads that take tasks. Of tasks that stand alone (volumes, explanations) one at a time is computed.
    """

    def __init__(self, n_threads: int, max_batch: int, max_waiting: int, n_workers: int = 1) -> None:
        self.max_batch, self.max_waiting, self._n_threads = max_batch, max_waiting, n_threads
        self._tasks: deque[Task] = deque()
        serve_metrics.WAITING.set_function(lambda: len(self._tasks))
        self._lock = threading.Lock()
        self._idle: list[threading.Lock] = []  # each thread that waits, with what it waits for
        self._n_coming = 0  # threads that were woken and are not here yet
        self._closed = self._is_alone = False
        self._threads = [
            threading.Thread(target=self._work, name=f"claimed-med-lane-{number}", daemon=True)
            for number in range(n_workers)
        ]
        for one in self._threads:
            one.start()

    def submit(self, task: Task) -> Outcome[Any]:
        """Put a task at the end of the queue.

        Raises:
            Busy: The queue is full.
        """
        task.job = task.job or serve_job.current.get()
        with self._lock:
            if len(self._tasks) >= self.max_waiting:
                raise Busy(WHERE, "the queue is full", got=f"{self.max_waiting} waiting", do="try again later")
            self._tasks.append(task)
            self._wake()
        return task.outcome

    def call(self, task: Task) -> Any:
        """Compute a task and wait for it, no longer than its request does."""
        outcome = self.submit(task)
        job = task.job
        while True:
            try:
                return outcome.result(timeout=None if job is None else min(job.left_s, 0.5))
            except TimeoutError:
                if job is None or outcome.done():  # settled as the waiting ended, or an error of its own
                    return outcome.result()
                job.check()

    def is_here(self) -> bool:
        """Whether this is a thread of the lane."""
        return threading.current_thread() in self._threads

    def close(self) -> None:
        """Compute what waits, and end."""
        with self._lock:
            self._closed = True
            while self._idle:
                self._wake()
        for one in self._threads:
            one.join()

    def _work(self) -> None:
        limit_threads(self._n_threads)
        while batch := self._next():
            try:
                self._finish(batch)
            finally:
                if batch[0].kind is None:
                    with self._lock:
                        self._is_alone = False

    def _finish(self, batch: list[Task]) -> None:
        wanted = [one for one in batch if one.is_wanted()]
        if not wanted:
            return
        now = time.perf_counter()
        for one in wanted:
            serve_metrics.note(serve_metrics.stage("queue"), now - one.arrived)
        if wanted[0].kind is not None:
            serve_metrics.note(serve_metrics.BATCH, sum(one.n_images for one in wanted))
        self._compute(wanted)
        for after in {one.after for one in wanted if one.after is not None}:
            after()

    def _compute(self, wanted: list[Task]) -> None:
        try:
            started = time.perf_counter()
            try:
                results = wanted[0].context.run(wanted[0].run, [one.content for one in wanted])
            finally:
                serve_metrics.note(serve_metrics.stage("compute"), time.perf_counter() - started)
            for one, result in zip(wanted, results, strict=True):
                one.outcome.set_result(result)
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            if len(wanted) > 1:  # one of them may be what fails: each gets its own chance
                for one in wanted:
                    self._compute([one])
                return
            if not wanted[0].outcome.done():
                wanted[0].outcome.set_exception(error)

    def _next(self) -> list[Task]:
        """What to compute next; nothing when the lane ends."""
        news = threading.Lock()
        news.acquire()
        while True:
            with self._lock:
                if (first := self._first()) >= 0:
                    return self._taken(first)
                if self._closed and not self._tasks:
                    self._wake()  # one that waits for a task that stands alone to end; who ends wakes the next
                    return []
                self._idle.append(news)
            news.acquire()
            with self._lock:
                self._n_coming -= 1

    def _wake(self) -> None:
        """Wake the thread that came last: what it needs is still in the caches of its core."""
        if self._idle:
            self._n_coming += 1
            self._idle.pop().release()

    def _first(self) -> int:
        """The place in the queue of the next task that may be computed now; -1 for none."""
        return next((n for n, one in enumerate(self._tasks) if one.kind is not None or not self._is_alone), -1)

    def _taken(self, first: int) -> list[Task]:
        batch = [self._tasks[first]]
        del self._tasks[first]
        if batch[0].kind is None:
            self._is_alone = True
            return batch
        n_images = batch[0].n_images
        waiting = n_images + sum(one.n_images for one in self._tasks)
        most = min(self.max_batch, math.ceil(waiting / (1 + len(self._idle) + self._n_coming)))  # each its part
        while len(self._tasks) > first and self._tasks[first].kind == batch[0].kind:
            n_images += self._tasks[first].n_images
            if n_images > most:
                break
            batch.append(self._tasks[first])
            del self._tasks[first]
        return batch
