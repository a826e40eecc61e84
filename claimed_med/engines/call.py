"""One call of a container engine: what the container sees, is told and may do, and how it ended."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from claimed_med.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_ENGINE_SPEAKS, _SIGNALLED, _LAST = 125, 128, 193  # 125-127 are the container engine's own, 128 + n is signal n
_LONGEST = 300  # of what the container engine said
_HARDENED = (
    "--rm",
    "--init",  # or the task would be process 1, which no signal of its own ends and which must bury orphans
    "--pull=never",
    "--log-driver=none",
    "--read-only",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--shm-size=1g",
)


@dataclass
class Call:
    """What a container is given.

    Attributes:
        mounts: Files and folders of this machine, where the container sees them, and whether it may write there.
        environment: Variables; their values are never on a command line.
        entrypoint: The program, or '' for the image's own.
        words: Its arguments.
        network: `none`, or a network of the container engine.
    """

    mounts: list[tuple[Path, str, bool]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    entrypoint: str = ""
    words: list[str] = field(default_factory=list)
    network: str = "none"

    def mount(self, source: Path, target: str, *, writable: bool = False) -> str:
        """Let the container see a file or folder of this machine; where."""
        self.mounts.append((source.resolve(), target, writable))
        return target

    def run(self, start: list[str], image: str, log: Path, told: Callable[[int, int], None]) -> int:
        """Run the container; the exit code of what ran in it, negative for a signal.

        Args:
            start: The container engine with its command, name, labels and user.
            image: By id.
            log: Where everything goes that is printed.
            told: Is called with the number of finished units, and of all.
        """
        with (
            log.open("ab") as stream,
            subprocess.Popen(
                self.command_line(start, image),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stream,
                env={**os.environ, **self.environment},
                start_new_session=True,
            ) as client,
        ):
            for line in client.stdout or ():
                if not _is_progress(line, told):
                    stream.write(line)
                    stream.flush()
        if _ENGINE_SPEAKS <= client.returncode < _SIGNALLED:
            self._withhold_paths(log)
            return EngineError.exit_code
        return _SIGNALLED - client.returncode if _SIGNALLED < client.returncode < _LAST else client.returncode

    def command_line(self, start: list[str], image: str) -> list[str]:
        """The words of the call; of the environment it holds names only."""
        words = [*start, *_HARDENED, f"--network={self.network}"]
        for source, target, writable in self.mounts:
            access = [] if writable else ["readonly"]
            words += ["--mount", _fields("type=bind", f"source={source}", f"target={target}", *access)]
        words += [word for name in sorted(self.environment) for word in ("--env", name)]
        words += [f"--entrypoint={self.entrypoint}"] if self.entrypoint else []
        return [*words, image, *self.words]

    def _withhold_paths(self, log: Path) -> None:
        """Keep what the container engine said, without paths of this machine: patients' names hide in them."""
        text = log.read_text(encoding="utf-8", errors="replace")
        for source, target, _ in sorted(self.mounts, key=lambda one: -len(str(one[0]))):
            text = text.replace(str(source), target)
        last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")[:_LONGEST]
        log.write_text(f"{text}\nerror: the container could not be started: {last}\n", encoding="utf-8")


def _is_progress(line: bytes, told: Callable[[int, int], None]) -> bool:
    if not line.startswith(b'{"units_done"'):
        return False
    try:
        units = json.loads(line)
        told(units["units_done"], units["units_total"])
    except (ValueError, KeyError):
        return False
    return True


def _fields(*words: str) -> str:
    """Fields of a `--mount`: comma-separated, quoted where a path holds a comma."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(words)
    return text.getvalue()
