"""A router in a process of its own, for tests that kill it."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psutil

from claimed_med.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable

_POLL_S, _STOP_S = 0.05, 60.0
_META_START, _META_HEADER = 132, 12


class Wire:
    """A wire to an HTTP server of this machine that counts how often a text goes over it.

    Args:
        port: Of the server.
        counted: What to count.
    """

    def __init__(self, port: int, counted: bytes) -> None:
        self.server_port, self.counted, self.n_seen = port, counted, 0
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for one in self._threads:
            one.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self._threads.append(threading.Thread(target=self._connect, args=(client,), daemon=True))
                self._threads[-1].start()

    def _connect(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.server_port)) as server:
            back = threading.Thread(target=self._pump, args=(server, client, b""), daemon=True)
            back.start()
            self._pump(client, server, self.counted)
            back.join()

    def _pump(self, source: socket.socket, target: socket.socket, counted: bytes) -> None:
        held = b""
        with contextlib.suppress(OSError):
            while chunk := source.recv(1 << 16):
                if counted:
                    held += chunk
                    with self._lock:
                        self.n_seen += held.count(counted)
                    held = held[-len(counted) + 1 :] if not held.endswith(counted) else b""
                target.sendall(chunk)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class RouterProcess:
    """`claimed-med net route`, started, killed and started again on one folder.

    Args:
        rules: Its RULES.toml.
        home: Its folder.
        log: Gets all that it prints.
    """

    def __init__(self, rules: Path, home: Path, log: Path) -> None:
        self.rules, self.home, self.log = rules, home, log
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.stop()

    def start(self) -> None:
        """Start it; it need not be ready when this returns."""
        words = [sys.executable, "-m", "claimed_med", "net", "route", str(self.rules), "--home", str(self.home)]
        with self.log.open("ab") as stream:
            self.process = subprocess.Popen(words, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL)

    def kill(self) -> int:
        """SIGKILL; how many processes of its own died with it.

        Raises:
            EngineError: Some outlive it.
        """
        process = self._running()
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        self.process = None
        _, alive = psutil.wait_procs(children, timeout=_STOP_S)
        if alive:
            raise EngineError("router", "processes outlive the router", got=len(alive))
        return len(children)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        process = self._running()
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(_STOP_S)
        finally:
            process.kill()
            process.wait()
            self.process = None

    def status(self, *words: str) -> dict[str, Any]:
        """What `claimed-med net status --json` tells; {} as long as there is no state."""
        command = [sys.executable, "-m", "claimed_med", "net", "status", "--home", str(self.home), "--json", *words]
        done = subprocess.run(command, capture_output=True, check=False)
        return dict(json.loads(done.stdout)) if done.returncode == 0 else {}

    def check(self) -> bool:
        """True as long as it runs.

        Raises:
            EngineError: It has ended by itself.
        """
        return self._running() is not None

    def _running(self) -> subprocess.Popen[bytes]:
        if self.process is None or self.process.poll() is not None:
            code = None if self.process is None else self.process.returncode
            raise EngineError("router", "does not run", got=f"exit code {code}")
        return self.process


def wait_for(condition: Callable[[], Any], limit_s: float = 300.0) -> Any:
    """The first true value of a condition.

    Raises:
        EngineError: There is none for so long that something hangs.
    """
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            found = condition()
            if found:
                return found
        time.sleep(_POLL_S)
    raise EngineError("test", "nothing came of it", got=f"waited {limit_s:g} s")


def data_set(content: bytes) -> bytes:
    """The bytes of a DICOM file after its file meta information, which every node writes in its own way."""
    length = int.from_bytes(content[_META_START + 8 : _META_START + _META_HEADER], "little")
    return content[_META_START + _META_HEADER + length :]
