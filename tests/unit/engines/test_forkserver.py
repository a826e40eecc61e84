"""What the server of forks does when everything happens at once."""

from __future__ import annotations

import subprocess
import sys

END_AT_ONCE = """
import socket, time
from claimed_med.engines.forkserver import _Server

class Late(_Server):
    def _task(self, order, progress):
        time.sleep(600)  # was not given the processor since it was forked
        return 0

server = Late(socket.socketpair()[0])
server._start({"id": 1, "progress": False})
server._end()
print("ended")
"""


def test_a_task_that_has_hardly_begun_ends_with_its_engine():
    done = subprocess.run([sys.executable, "-c", END_AT_ONCE], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr
