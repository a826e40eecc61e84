"""What a receiver counts, for Prometheus: outcomes, bytes and seconds. No title, address or UID is a label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from claimed_med.errors import InputError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from wsgiref.simple_server import WSGIServer

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class ReceiverMetrics:
    """The metrics of one receiver, in a registry of their own.

    Args:
        free_bytes: Tells the free space of the disk.
        n_associations: Tells how many associations there are.
    """

    def __init__(self, free_bytes: Callable[[], int], n_associations: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        name = "claimed_med_receiver"
        self.objects = Counter(
            f"{name}_objects", "Objects by outcome and DIMSE status", ("outcome", "status"), registry=self.registry
        )
        self.n_bytes = Counter(f"{name}_received_bytes", "Bytes of data sets received", registry=self.registry)
        self.seconds = Histogram(
            f"{name}_object_seconds", "From the command to the answer", buckets=_SECONDS, registry=self.registry
        )
        self.ended = Counter(f"{name}_associations", "Associations by how they ended", ("how",), registry=self.registry)
        Gauge(f"{name}_free_bytes", "Free space of the disk", registry=self.registry).set_function(free_bytes)
        Gauge(f"{name}_open_associations", "Associations now", registry=self.registry).set_function(n_associations)
        self._server: tuple[WSGIServer, threading.Thread] | None = None

    def serve(self, host: str, port: int) -> None:
        """Answer `GET /metrics`.

        Raises:
            InputError: The port cannot be opened.
        """
        try:
            self._server = start_http_server(port, host, self.registry)
        except OSError as error:
            raise InputError(
                "receiver", "cannot open the port of the metrics", got=f"port {port} ({type(error).__name__})"
            ) from None

    def close(self) -> None:
        """Answer no more."""
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join()
            self._server = None
