"""What a pipeline run tells its user: live in a terminal, one line a task otherwise, and a summary at the end."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from claimed_med.payload import UNITS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass
class TaskState:
    """Where one task is."""

    status: str = "running"
    text: str = ""
    units: tuple[int, int] = (0, 0)
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    ports: dict[str, Path] = field(default_factory=dict)


class Report:
    """Collects events of tasks; every method may be called from any thread.

    Args:
        quiet: Print nothing while the run goes on.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.tasks: dict[str, TaskState] = {}
        self.quiet = quiet
        self._lock = threading.Lock()
        self._live: Any = None
        if not quiet and sys.stderr.isatty():
            self._live = _live(self)

    @property
    def n_running(self) -> int:
        """Tasks that run now."""
        with self._lock:
            return sum(one.status == "running" for one in self.tasks.values())

    def started(self, title: str) -> None:
        """A task begins."""
        with self._lock:
            self.tasks[title] = TaskState()
        self._refresh()

    def progress(self, title: str, done: int, total: int) -> None:
        """A task finished some of its units."""
        with self._lock:
            self.tasks[title].units = (done, total)
        self._refresh()

    def finished(self, title: str, ports: Mapping[str, Path], *, cached: bool) -> None:
        """A task is done."""
        self._end(title, "cached" if cached else "done", "", dict(ports))

    def failed(self, title: str, code: int, text: str) -> None:
        """A task failed."""
        self._end(title, "failed", f"{text} (exit code {code})")

    def skipped(self, title: str) -> None:
        """A task was not run."""
        self._end(title, "skipped", "")

    def retried(self, title: str, attempt: int) -> None:
        """A task failed and is tried again."""
        self._say(f"{title}: failed, attempt {attempt + 1} follows")

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()

    def summary(self) -> str:
        """The table that ends a run: tasks, then units by task with every reason."""
        width = max([len(title) for title in self.tasks] or [0])
        lines = [
            f"{title:<{width}}  {one.status:<7} {one.seconds:7.2f} s  {one.text}".rstrip()
            for title, one in self.tasks.items()
        ]
        return "\n".join([*lines, *self._units()])

    def _units(self) -> list[str]:
        lines: list[str] = []
        for title, task in self.tasks.items():
            table = next((path / UNITS for path in task.ports.values() if (path / UNITS).is_file()), None)
            if table is None:
                continue
            listed = json.loads(table.read_text(encoding="utf-8"))["units"]
            counts = Counter(unit["status"] for unit in listed)
            told = ", ".join(f"{counts[name]} {name}" for name in ("done", "quarantined", "absent") if counts[name])
            lines.append(f"{title}: {told or 'no units'}")
            reasons: dict[str, list[str]] = {}
            for unit in listed:
                if unit["status"] == "quarantined":
                    reasons.setdefault(unit["text"], []).append(unit["key"])
            for text, keys in sorted(reasons.items(), key=lambda one: (-len(one[1]), one[0])):
                more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
                lines.append(f"  {len(keys):>3} x {text}  [{keys[0]}{more}]")
        return lines

    def _end(self, title: str, status: str, text: str, ports: dict[str, Path] | None = None) -> None:
        with self._lock:
            state = self.tasks.setdefault(title, TaskState())
            state.status, state.text, state.ports = status, text, ports or {}
            state.seconds = time.monotonic() - state.started
        self._say(f"{title}: {status}{' ' + text if text else ''}")
        self._refresh()

    def _say(self, line: str) -> None:
        if not self.quiet and self._live is None:
            print(line, file=sys.stderr, flush=True)

    def _refresh(self) -> None:
        if self._live is not None:
            self._live.refresh()


def table(report: Report) -> Any:
    """The live table."""
    from rich.table import Table

    shown = Table("task", "status", "units", "seconds")
    for title, one in list(report.tasks.items()):
        seconds = one.seconds or time.monotonic() - one.started
        units = f"{one.units[0]}/{one.units[1]}" if one.units[1] else ""
        shown.add_row(title, one.status, units, f"{seconds:.1f}")
    return shown


def _live(report: Report) -> Any:
    from rich.console import Console
    from rich.live import Live

    live = Live(get_renderable=lambda: table(report), console=Console(stderr=True), refresh_per_second=4)
    live.start()
    return live
