"""Ends the containers of a run when the run ends, also when that was killed: containers are no children of ours."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

# It waits for a word. When the pipe closes without one (the engine stopped, or was killed), every container with the
# label is removed; twice, since one may have been starting. Then the working folder goes: it holds copies of secrets.
_SCRIPT = """
read -r word && exit 0
for pass in 1 2; do
    for one in $("$1" ps --all --quiet --filter "label=$2"); do "$1" kill "$one"; "$1" rm --force "$one"; done
    [ "$pass" = 2 ] || sleep 1
done
rm -rf "$3"
"""


class Guard:
    """A small shell that outlives the engine by a second.

    Args:
        program: The container engine.
        label: `name=value` of every container of this run.
        work: The working folder of the run.
    """

    def __init__(self, program: str, label: str, work: Path) -> None:
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT, "guard", program, label, str(work)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def close(self, *, finished: bool) -> None:
        """End it; containers that still run are removed first.

        Args:
            finished: No container is left, so that nothing needs to be looked for.
        """
        if self._shell.stdin is not None and not self._shell.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._shell.stdin.write(b"finished\n" if finished else b"")
                self._shell.stdin.close()
        self._shell.wait()
