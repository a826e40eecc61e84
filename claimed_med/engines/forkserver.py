"""A process that imports once and forks for every task: importing torch and MONAI costs seconds, a fork milliseconds.

The server is single-threaded, never computes and never touches a GPU. It is a program of its own
(`python -m claimed_med.engines.forkserver IMAGE FD`), talks JSON lines over a socket, and ends with its engine: when
the socket closes it kills every task, and every task dies when the server does.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import Future
from typing import Any

from claimed_med import lineage
from claimed_med.workers import die_with_parent

PRELOAD = {
    "cpu": (
        "numpy",
        "scipy.ndimage",
        "pydicom",
        "highdicom",
        "claimed_med.dicom.series",
        "claimed_med.dicom.seg",
        "claimed_med.run",
    ),
    "torch": ("torch", "monai.networks.nets", "monai.inferers"),
}
_LINE = 1 << 16


class ForkServer:
    """The engine's end: starts the server of one image, and runs tasks through it.

    Args:
        image: Decides what is imported.
    """

    def __init__(self, image: str) -> None:
        ours, theirs = socket.socketpair()
        self._socket = ours
        self._waiting: dict[int, Future[int]] = {}
        self._lock = threading.Lock()
        self._number = 0
        words = [sys.executable, "-m", "claimed_med.engines.forkserver", image, str(theirs.fileno())]
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self._process = subprocess.Popen(words, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=one_thread)
        theirs.close()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def submit(self, argv: list[str], environment: dict[str, str], log: str, progress_fd: int = -1) -> Future[int]:
        """Run `claimed-med run ARGV...` in a fork; the future holds its exit code, negative for a signal."""
        done: Future[int] = Future()
        with self._lock:
            self._number += 1
            self._waiting[self._number] = done
            order = {
                "id": self._number,
                "argv": argv,
                "environment": environment,
                "log": log,
                "progress": progress_fd >= 0,
            }
            text = json.dumps(order).encode() + b"\n"
            try:
                if progress_fd >= 0:
                    socket.send_fds(self._socket, [text[:1]], [progress_fd])
                    self._socket.sendall(text[1:])
                else:
                    self._socket.sendall(text)
            except OSError:
                self._waiting.pop(self._number)
                done.set_result(-signal.SIGKILL)
        return done

    def close(self) -> None:
        """End the server and every task of it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._process.wait()
        self._socket.close()

    def _listen(self) -> None:
        held = b""
        with contextlib.suppress(OSError):
            while chunk := self._socket.recv(_LINE):
                held += chunk
                *lines, held = held.split(b"\n")
                for line in lines:
                    told = json.loads(line)
                    with self._lock:
                        done = self._waiting.pop(told["id"])
                    done.set_result(told["code"])
        with self._lock:
            left, self._waiting = self._waiting, {}
        for done in left.values():
            done.set_result(-signal.SIGKILL)


class _Server:
    """The server's end."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.tasks: dict[int, int] = {}
        self.held = b""
        self.handles: list[int] = []
        self.wake, writer = socket.socketpair()
        for one in (self.wake, writer):
            one.setblocking(False)
        self.writer = writer
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

    def serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self.connection, selectors.EVENT_READ)
            selector.register(self.wake, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self.wake:
                        with contextlib.suppress(BlockingIOError):
                            self.wake.recv(_LINE)
                    elif not self._receive():
                        self._end()
                        return
                self._reap()

    def _receive(self) -> bool:
        content, handles, _, _ = socket.recv_fds(self.connection, _LINE, 4)
        self.handles += handles
        self.held += content
        *lines, self.held = self.held.split(b"\n")
        for line in lines:
            self._start(json.loads(line))
        return bool(content)

    def _start(self, order: dict[str, Any]) -> None:
        progress = self.handles.pop(0) if order["progress"] else -1
        child = os.fork()
        if child == 0:
            os._exit(self._task(order, progress))
        with contextlib.suppress(OSError):
            os.setpgid(child, child)  # so does the child; it has its group before anybody can want to kill that
        if progress >= 0:
            os.close(progress)
        self.tasks[child] = order["id"]

    def _task(self, order: dict[str, Any], progress: int) -> int:
        os.setpgid(0, 0)
        die_with_parent()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for one in (self.connection, self.wake, self.writer):
            one.close()
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(order["environment"])
        if progress >= 0:
            os.environ["CLAIMED_MED_PROGRESS_FD"] = str(progress)
        return run_task(order["argv"])

    def _reap(self) -> None:
        while self.tasks:
            try:
                child, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if child == 0:
                return
            if child in self.tasks:
                told = {"id": self.tasks.pop(child), "code": os.waitstatus_to_exitcode(status)}
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child, signal.SIGKILL)  # workers that a dead task left behind
                with contextlib.suppress(OSError):
                    self.connection.sendall(json.dumps(told).encode() + b"\n")

    def _end(self) -> None:
        for child in self.tasks:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
        for child in list(self.tasks):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)


def run_task(argv: list[str]) -> int:
    """Run one task in this process and flush what it printed; the exit code."""
    from claimed_med.run import main as run_main

    code = 1
    try:
        code = run_main(argv)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 2
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return code


def preload(image: str) -> None:
    """Import what tasks of an image will need; what is not installed is left to the task to say."""
    lineage.pinned_versions(image)  # remembered: every task of the image records them
    lineage.packages_digest()
    for name in (*PRELOAD["cpu"], *PRELOAD.get(image, ())):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def main(words: list[str]) -> None:
    """Serve until the engine closes the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = socket.socket(fileno=int(words[1]))
    preload(words[0])
    _Server(connection).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
