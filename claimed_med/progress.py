"""Progress of long work: a bar in a terminal, JSON lines for an engine, nothing otherwise. Standard library only."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ENVIRONMENT = "CLAIMED_MED_PROGRESS_FD"
_WIDTH = 30


class Progress:
    """Counts units that are finished.

    Args:
        name: What is running.
        total: Units in all.
    """

    def __init__(self, name: str, total: int) -> None:
        self.name, self.total, self.done = name, total, 0
        given = os.environ.get(ENVIRONMENT, "")
        self._pipe = int(given) if given.isdigit() else -1
        self._terminal = self._pipe < 0 and sys.stderr.isatty()
        self._started = time.monotonic()
        self._show()

    def advance(self) -> None:
        """One more unit is finished."""
        self.done += 1
        self._show()

    def close(self) -> None:
        """Leave the line."""
        if self._terminal:
            sys.stderr.write("\n")

    def _show(self) -> None:
        if self._pipe >= 0:
            line = json.dumps({"units_done": self.done, "units_total": self.total}) + "\n"
            try:
                os.write(self._pipe, line.encode())
            except OSError:
                self._pipe = -1
        elif self._terminal:
            filled = _WIDTH * self.done // max(self.total, 1)
            spent = time.monotonic() - self._started
            left = f", {spent / self.done * (self.total - self.done):.0f} s left" if self.done else ""
            bar = "#" * filled + "." * (_WIDTH - filled)
            sys.stderr.write(f"\r{self.name} [{bar}] {self.done}/{self.total}{left}\x1b[K")
            sys.stderr.flush()


@contextmanager
def progress(name: str, total: int) -> Iterator[Progress]:
    """Show progress while the block runs."""
    shown = Progress(name, total)
    try:
        yield shown
    finally:
        shown.close()
