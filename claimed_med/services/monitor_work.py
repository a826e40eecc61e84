"""Work that takes long and is asked for often: done once for all who ask, and again when something has changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Work(Generic[T]):
    """What was worked out, by name.

    Args:
        make: Works it out; called in a thread of its own, one call at a time.
    """

    def __init__(self, make: Callable[[str], T]) -> None:
        self._make = make
        self._begun: dict[str, tuple[Hashable, Future[T]]] = {}
        self._done: dict[str, T] = {}
        self._lock, self._one_at_a_time = threading.Lock(), threading.Lock()

    def ask(self, name: str, state: Hashable) -> Future[T]:
        """What is worked out, or will be; who asks meanwhile gets the same.

        Args:
            name: Of the work.
            state: What it depends on; another one than at its begin starts it anew, when it has ended.
        """
        with self._lock:
            begun = self._begun.get(name)
            if begun and (not begun[1].done() or (begun[0] == state and begun[1].exception() is None)):
                return begun[1]
            future: Future[T] = Future()
            future.set_running_or_notify_cancel()  # who gives up waiting cannot cancel it for the others
            self._begun[name] = state, future
        threading.Thread(target=self._work, args=(name, future), name=f"monitor {name[:12]}", daemon=True).start()
        return future

    def before(self, name: str) -> T | None:
        """What was worked out last, whatever has changed since."""
        return self._done.get(name)

    def _work(self, name: str, future: Future[T]) -> None:
        try:
            with self._one_at_a_time:
                made = self._make(name)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            future.set_exception(error)
        else:
            self._done[name] = made
            future.set_result(made)
