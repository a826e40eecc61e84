"""An end for everything that is asked of a server, also of one that sends a byte now and then for ever.

Time-outs of a socket count its silence only. Here every connection of a session is known, and cut off at the end.
Connections through a proxy are not.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

if TYPE_CHECKING:
    import requests


class Deadline:
    """The time that is left for all requests of a session.

    Args:
        seconds: From now on; infinity for no end.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    @property
    def is_over(self) -> bool:
        """Whether the time has passed."""
        return time.monotonic() >= self._end

    def watch(self, session: requests.Session) -> None:
        """Cut every connection of a session off at the end."""
        if math.isinf(self.seconds):
            return
        adapters: list[Any] = list(session.adapters.values())
        for one in adapters:
            one.poolmanager.pool_classes_by_scheme = self._pools()
        self._timer = threading.Timer(max(0.0, self.seconds), self._cut)
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        """Nothing is asked any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _note(self, connection: socket.socket) -> None:
        """A connection was made; when the time has passed meanwhile, it is cut off at once."""
        with self._lock:
            self._sockets.add(connection)
        if self.is_over:
            self._cut()

    def _cut(self) -> None:
        with self._lock:
            sockets = list(self._sockets)
        for one in sockets:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(one, socket.SHUT_RDWR)  # of TLS too: what waits in a read is woken

    def _pools(self) -> dict[str, Any]:
        """urllib3's pools, whose connections are noted when they are made."""
        note = self._note

        class Plain(HTTPConnection):
            def connect(self) -> None:
                super().connect()
                note(self.sock)

        class Secure(HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                note(self.sock)

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(HTTPSConnectionPool):
            ConnectionCls = Secure

        return {"http": PlainPool, "https": SecurePool}
