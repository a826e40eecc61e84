"""The gRPC face: kserve's service with deadlines, cancellation, tokens, limits, and addresses that are ours."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc import StatusCode, aio
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.protocol.model_repository_extension import ModelRepositoryExtension

from claimed_med.errors import ClaimedMedError, InputError
from claimed_med.services import serve_caller, serve_job, serve_v2
from claimed_med.services.serve_access import Door
from claimed_med.services.serve_error import WHERE, Cancelled, NotThere, statuses, understood
from claimed_med.services.serve_job import Job
from claimed_med.services.serve_options import Options
from claimed_med.services.serve_tensor import Tensors
from claimed_med.services.serve_trace import span

_OPEN = ("/ServerLive", "/ServerReady")
_CLOSED = ("/RepositoryModelLoad", "/RepositoryModelUnload")
_LARGEST = (1 << 31) - 1


class Service(InferenceServicer):
    """The calls of the Open Inference Protocol.

    Args:
        dataplane: kserve's, for metadata and health.
        extension: kserve's.
        tensors: The model.
        door: Counts who is inside.
    """

    def __init__(self, dataplane: DataPlane, extension: ModelRepositoryExtension, tensors: Tensors, door: Door) -> None:
        super().__init__(dataplane, extension)
        self._tensors, self._door = tensors, door

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        """Answer a request, within its deadline."""
        metadata = dict(context.invocation_metadata() or ())
        options, left = self._door.options, context.time_remaining()
        most = options.deadline_s if left is None else min(options.deadline_s, left)
        name = serve_job.request_id(str(metadata.get("x-request-id", request.id)))
        job = Job("grpc", time.monotonic() + most, name)
        number, inside = 200, False
        try:
            certificate = serve_caller.of_call(context) if options.tls is not None else ""
            job.caller = self._door.caller(str(metadata.get("authorization", "")), certificate)
            self._door.enter()
            inside = True
            serve_job.current.set(job)
            with span("ModelInfer", metadata, route="grpc"):
                return await self._answer(request)
        except BaseException as error:
            known = Cancelled(WHERE, "the caller has gone") if not isinstance(error, Exception) else understood(error)
            number, status = statuses(known)
            job.told.setdefault("error", type(known).__name__)
            if not isinstance(error, Exception):
                job.cancelled.set()
                raise
            await context.abort(getattr(StatusCode, status), str(known))
        finally:
            (self._door.leave if inside else self._door.note)(job, number)

    async def _answer(self, request: Any) -> Any:
        if request.model_name != self._tensors.name:
            raise NotThere(WHERE, "there is no model of this name", allowed=self._tensors.name)
        given = serve_v2.from_message(request)
        return serve_v2.to_message(given, self._tensors.name, *await self._tensors.infer(given))


class Access(grpc.GenericRpcHandler):
    """Tokens for every call but health; no loading and unloading of models from outside.

    Stands before the handlers instead of an interceptor, which would be a task more for every request.

    Args:
        door: Who may call.
        handler: Of all calls.
    """

    def __init__(self, door: Door, handler: grpc.GenericRpcHandler) -> None:
        self._door, self._handler = door, handler

    def service(self, details: Any) -> Any:
        """The handler of a call, or one that refuses it."""
        method = str(details.method)
        if method.endswith(_CLOSED):
            return _refusing(StatusCode.NOT_FOUND, "there is no such call")
        if not method.endswith((*_OPEN, "/ModelInfer")):  # ModelInfer looks itself, and writes its audit line
            metadata = dict(details.invocation_metadata or ())
            try:
                self._door.caller(str(metadata.get("authorization", "")))
            except ClaimedMedError as error:
                return _refusing(StatusCode.UNAUTHENTICATED, str(error))
        return self._handler.service(details)


class _Taker:
    """Takes the handler that generated code would give to a server."""

    found: grpc.GenericRpcHandler

    def add_generic_rpc_handlers(self, handlers: tuple[grpc.GenericRpcHandler]) -> None:
        """Keep the handler."""
        (self.found,) = handlers

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Not needed: the same ones by their names."""


class GrpcServer:
    """A server of these calls.

    Args:
        options: Of the server.
        service: The calls.
        door: Who may call.
    """

    def __init__(self, options: Options, service: Service, door: Door) -> None:
        self._options, self._service, self._door = options, service, door
        self._server: Any = None
        self.port = 0

    async def start(self) -> None:
        """Listen.

        Raises:
            InputError: The port is taken, or the address is none of this machine.
        """
        most = min(_LARGEST, self._options.max_upload)
        self._server = aio.server(
            ThreadPoolExecutor(2),
            options=[
                ("grpc.max_receive_message_length", most),
                ("grpc.max_send_message_length", _LARGEST),
                ("grpc.so_reuseport", 0),
            ],
            maximum_concurrent_rpcs=self._door.most_inside + 64,
        )
        taker = _Taker()
        grpc_predict_v2_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self._service, taker)
        self._server.add_generic_rpc_handlers((Access(self._door, taker.found),))
        host = f"[{self._options.host}]" if ":" in self._options.host else self._options.host
        address, tls = f"{host}:{self._options.grpc_port}", self._options.tls
        try:
            if tls is None:
                self.port = self._server.add_insecure_port(address)
            else:
                authority = tls.authority.read_bytes() if tls.authority is not None else None
                pair = [(tls.key.read_bytes(), tls.certificate.read_bytes())]
                made = grpc.ssl_server_credentials(pair, authority, require_client_auth=authority is not None)
                self.port = self._server.add_secure_port(address, made)
        except RuntimeError:
            do = "choose another --host or --grpc-port"
            raise InputError(WHERE, "the port cannot be opened", got=address, do=do) from None
        await self._server.start()

    async def stop(self, grace_s: float) -> None:
        """Stop listening, and wait for answers on their way; calls that no handler has seen end CANCELLED."""
        if self._server is not None:
            await self._server.stop(grace_s)


def _refusing(status: StatusCode, text: str) -> Any:
    async def refuse(_: Any, context: Any) -> None:
        await context.abort(status, text)

    return grpc.unary_unary_rpc_method_handler(
        refuse,
        request_deserializer=lambda given: given,
        response_serializer=pb.ModelInferResponse.SerializeToString,
    )
