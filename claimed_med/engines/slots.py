"""Cores that tasks share: a task that computes with two threads takes two, or both slow down many times over."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class Slots:
    """A number of slots of which a task takes one or more.

    Args:
        n_slots: How many there are.
    """

    def __init__(self, n_slots: int) -> None:
        self.n_slots = n_slots
        self._free = n_slots
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def taken(self, wanted: int) -> Iterator[None]:
        """Wait for `wanted` slots (all of them, when it wants more than there are) and hold them."""
        n_taken = max(1, min(wanted, self.n_slots))
        with self._changed:
            self._changed.wait_for(lambda: self._free >= n_taken)
            self._free -= n_taken
        try:
            yield
        finally:
            with self._changed:
                self._free += n_taken
                self._changed.notify_all()
