"""Put the parts of a server together, and run it: kserve's ModelServer, bound and drained as we want it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fastapi
import uvloop
from kserve import ModelServer
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.rest.server import RESTServer

from claimed_med.errors import InputError
from claimed_med.models.device import device
from claimed_med.prediction_log import PredictionLog
from claimed_med.services import serve_metrics, serve_trace
from claimed_med.services.serve_access import Door, Guard
from claimed_med.services.serve_caller import NamedProtocol
from claimed_med.services.serve_dicom import Dicom
from claimed_med.services.serve_error import WHERE, understood
from claimed_med.services.serve_grpc import GrpcServer, Service
from claimed_med.services.serve_http import Around, Face
from claimed_med.services.serve_lane import Lane
from claimed_med.services.serve_model import Models, device_name, load
from claimed_med.services.serve_options import Options, read_tokens
from claimed_med.services.serve_record import Audit, Recorder
from claimed_med.services.serve_source import Source
from claimed_med.services.serve_tensor import Tensors
from claimed_med.workers import n_cores

APPLICATION = "kserve.model_server:app"
_POLL_S = 0.02
_COLLECT = 10_000, 20, 20  # a request makes hundreds of objects, and no cycles
_ANSWERS_S = 1.0  # for answers on their way when the grace is over
_SWITCH_S = 0.001  # the loop shall not wait long for the thread that computes


class Health(DataPlane):
    """kserve's data plane; ready is what the door says."""

    def __init__(self, registry: Any, door: Door) -> None:
        super().__init__(registry)
        self._door = door

    async def ready(self) -> bool:
        """Whether requests are taken."""
        return self._door.is_ready


class Rest(RESTServer):
    """kserve's HTTP server with our routes before its own, and all of it behind our guard."""

    def __init__(self, face: Face, door: Door, server: ModelServer, options: Options) -> None:
        super().__init__(
            APPLICATION, server.dataplane, server.model_repository_extension, options.http_port,
            grace_period=max(1, int(options.grace_s)),
        )  # fmt: skip
        self._face, self._door = face, door
        config = self.config
        config.host, config.access_log, config.server_header, config.date_header = options.host, False, False, False
        config.h11_max_incomplete_event_size = 64 << 10
        if options.tls is not None:
            import ssl

            config.ssl_certfile, config.ssl_keyfile = str(options.tls.certificate), str(options.tls.key)
            if options.tls.authority is not None:
                config.ssl_ca_certs, config.ssl_cert_reqs = str(options.tls.authority), ssl.CERT_REQUIRED
                config.http = NamedProtocol
        self._server.capture_signals = contextlib.nullcontext  # signals are ours

    @property
    def port(self) -> int:
        """Where it listens; 0 before."""
        listening = [one for server in getattr(self._server, "servers", ()) for one in server.sockets]
        return int(listening[0].getsockname()[1]) if listening else 0

    @property
    def has_started(self) -> bool:
        """Whether it listens."""
        return bool(self._server.started)

    def stop(self) -> None:
        """Close the listening socket, finish what is going on, and end."""
        self._server.should_exit = True

    def _add_middlewares(self, app: fastapi.FastAPI) -> None:
        app.add_middleware(Around, face=self._face)
        app.add_middleware(Guard, door=self._door)

    def _register_endpoints(self, app: fastapi.FastAPI) -> None:
        app.openapi_url = None
        app.include_router(self._face.router())
        super()._register_endpoints(app)


class Server(ModelServer):
    """All of it.

    Args:
        options: How to serve.

    Raises:
        ClaimedMedError: A model cannot be served, or the record of predictions not be opened.
    """

    def __init__(self, options: Options) -> None:
        super().__init__(http_port=options.http_port, grpc_port=options.grpc_port, enable_latency_logging=False)
        self.options = options
        self.audit = Audit(options.audit)
        self.recorder = Recorder(PredictionLog(options.log))
        self.door = Door(options, self.audit)
        n_threads = 2 if _is_segmentation(options) else 1
        n_workers = 1 if device().type != "cpu" else max(1, n_cores() // n_threads)
        self.lane = Lane(n_threads, options.max_batch, options.max_waiting, n_workers)
        self.tensors = Tensors(options.name, self._load(), self.recorder, options.max_voxels)
        for one in self.tensors.models.every():
            one.publish(1)
        self.pool = ThreadPoolExecutor(options.n_dicom, thread_name_prefix="claimed-med-dicom")
        self.dataplane = Health(self.registered_models, self.door)
        self.register_model(self.tensors)
        assert options.work is not None  # noqa: S101 - made by main
        face = Face(self.tensors, Dicom(options, options.work), self.recorder, self.pool)
        self.rest = Rest(face, self.door, self, options)
        service = Service(self.dataplane, self.model_repository_extension, self.tensors, self.door)
        self.grpc = GrpcServer(options, service, self.door) if options.grpc_port >= 0 else None
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until a signal says stop."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for one in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(one, stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        web = asyncio.create_task(self.rest.start())
        while not self.rest.has_started and not web.done():  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(_POLL_S)
        if web.done() or not self.rest.has_started:
            raise InputError(WHERE, "the port cannot be opened", got=self.options.http_port, do="choose another one")
        if self.grpc is not None:  # last: a server of gRPC that is not stopped in order keeps the process
            await self.grpc.start()
        gc.collect()
        gc.freeze()  # what was imported stays: the collector need not walk it while requests wait
        gc.set_threshold(*_COLLECT)
        self.door.is_ready = True
        self._say()
        ended = asyncio.create_task(stop.wait())
        await asyncio.wait({ended, web}, return_when=asyncio.FIRST_COMPLETED)
        await self._end(web)

    async def _end(self, web: asyncio.Task[None]) -> None:
        """Finish what was accepted while new requests are refused, then stop listening."""
        left_s = await self.door.drain()
        self.rest.stop()
        if self.grpc is not None:
            await self.grpc.stop(max(_ANSWERS_S, left_s))
        await web
        left = self.door.n_inside
        self.audit.write("stop", {"unfinished": left})

    def close(self) -> None:
        """End the threads; what waits to be written is written."""
        self.pool.shutdown(wait=True, cancel_futures=True)
        self.lane.close()
        self.recorder.close()
        for one in self.tensors.models.every():
            one.close()

    def _load(self) -> Models:
        options = self.options
        assert options.work is not None  # noqa: S101 - made by main
        source = Source(options.bundle, options.decision, options.override, options.expect)
        stable = load(source, options.name, "stable", self.lane, options.work)
        canary = None
        try:
            if options.canary is not None:
                other = Source(options.canary, options.canary_decision, options.override)
                canary = load(other, options.name, "canary", self.lane, options.work)
            return Models(stable, canary, options.canary_percent)
        except BaseException:
            for one in (stable, canary):
                if one is not None:
                    one.close()
            raise

    def _on_hangup(self) -> None:
        task = asyncio.get_running_loop().create_task(self._take_over())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take_over(self) -> None:
        """Read tokens and models again; what cannot be served changes nothing."""
        before = self.tensors.models
        try:
            path = self.options.token_file
            tokens = read_tokens(path) if path is not None else self.door.tokens
            models = await asyncio.to_thread(self._load)
            self.audit.reopen()
            self.door.tokens, self.tensors.models = tokens, models
        except Exception as error:  # noqa: BLE001 - the server goes on with what it has
            serve_metrics.SWAPS.labels("refused").inc()
            self.audit.write("swap", {"outcome": "refused", "text": str(understood(error))})
            return
        serve_metrics.SWAPS.labels("done").inc()
        for served, value in [
            *((one, 0) for one in before.every()),
            *((one, 1) for one in self.tensors.models.every()),
        ]:
            served.publish(value)
        old = {one.digest for one in before.every()} - {one.digest for one in self.tensors.models.every()}
        self.audit.write("swap", {"outcome": "done", "removed": sorted(old), **self._served()})
        await self._until_unused(before)

    async def _until_unused(self, before: Models) -> None:
        """Keep the copies of the old models as long as a request may use them."""
        await asyncio.sleep(self.options.deadline_s)
        for one in before.every():
            one.close()

    def _served(self) -> dict[str, Any]:
        return {
            "models": [
                {"variant": one.variant, "model_digest": one.digest, **one.blessing.statements()}
                for one in self.tensors.models.every()
            ]
        }

    def _say(self) -> None:
        told = {"http_port": self.rest.port, "grpc_port": self.grpc.port if self.grpc else -1, "device": device_name()}
        self.audit.write("start", {**told, **self._served(), "max_batch": self.options.max_batch})
        sys.stderr.write(f"serving on {self.options.host}: http {told['http_port']}, grpc {told['grpc_port']}\n")


def serve(options: Options) -> int:
    """Serve until a signal says stop; the exit code.

    Raises:
        ClaimedMedError: A model cannot be served, or a port not be opened.
    """
    serve_trace.start()
    sys.setswitchinterval(_SWITCH_S)
    server = Server(options)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(server.run())
    except SystemExit:  # uvicorn, when its port is taken
        raise InputError(WHERE, "the port cannot be opened", got=options.http_port, do="choose another one") from None
    finally:
        server.close()
        serve_trace.stop()
    return 0


def _is_segmentation(options: Options) -> bool:
    from claimed_med.services.server import THREADS, threads_of

    return threads_of(options.bundle) == THREADS["segmentation"]
