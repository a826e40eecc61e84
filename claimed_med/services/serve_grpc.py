"""The gRPC face: kserve's service with deadlines, cancellation, tokens, limits, and addresses that are ours."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc import StatusCode, aio
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.protocol.infer_type import InferRequest
from kserve.protocol.model_repository_extension import ModelRepositoryExtension

from claimed_med.errors import ClaimedMedError
from claimed_med.services import serve_caller, serve_job
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
        metadata = {one.key: one.value for one in context.invocation_metadata() or ()}
        most, left = self._door.options.deadline_s, context.time_remaining()
        job = Job("grpc", time.monotonic() + (most if left is None else min(most, left)))
        job.request_id = serve_job.request_id(str(metadata.get("x-request-id", request.id)))
        status, inside = "OK", False
        try:
            job.caller = self._door.caller(str(metadata.get("authorization", "")), serve_caller.of_call(context))
            self._door.enter()
            inside = True
            serve_job.current.set(job)
            with span("ModelInfer", {key: str(value) for key, value in metadata.items()}, route="grpc"):
                return await self._answer(request)
        except BaseException as error:
            known = Cancelled(WHERE, "the caller has gone") if not isinstance(error, Exception) else understood(error)
            _, status = statuses(known)
            job.told.setdefault("error", type(known).__name__)
            if not isinstance(error, Exception):
                job.cancelled.set()
                raise
            await context.abort(getattr(StatusCode, status), str(known))
        finally:
            number = 200 if status == "OK" else _http_of(status)
            (self._door.leave if inside else self._door.note)(job, number)

    async def _answer(self, request: Any) -> Any:
        if request.model_name != self._tensors.name:
            raise NotThere(WHERE, "there is no model of this name", allowed=self._tensors.name)
        try:
            self.validate_grpc_request(request)
            given = InferRequest.from_grpc(request)
        except ClaimedMedError:
            raise
        except Exception as error:  # noqa: BLE001 - kserve's errors quote the request
            from claimed_med.errors import ContractError

            raise ContractError(WHERE, "no inference request", got=type(error).__name__) from None
        response, _ = await self._data_plane.infer(self._tensors.name, given)
        return response.to_grpc()


class Access(aio.ServerInterceptor):
    """Tokens for every call but health; no loading and unloading of models from outside."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """Let a call through, or answer it here."""
        method = str(details.method)
        if method.endswith(_CLOSED):
            return _refusing(StatusCode.NOT_FOUND, "there is no such call")
        if not method.endswith((*_OPEN, "/ModelInfer")):  # ModelInfer looks itself, and writes its audit line
            metadata = {one.key: one.value for one in details.invocation_metadata or ()}
            try:
                self._door.caller(str(metadata.get("authorization", "")))
            except ClaimedMedError as error:
                return _refusing(StatusCode.UNAUTHENTICATED, str(error))
        return await continuation(details)


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
        """Listen."""
        most = min(_LARGEST, self._options.max_upload)
        self._server = aio.server(
            ThreadPoolExecutor(2),
            interceptors=(Access(self._door),),
            options=[
                ("grpc.max_receive_message_length", most),
                ("grpc.max_send_message_length", _LARGEST),
                ("grpc.so_reuseport", 0),
            ],
            maximum_concurrent_rpcs=self._door.most_inside + 64,
        )
        grpc_predict_v2_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self._service, self._server)
        host = f"[{self._options.host}]" if ":" in self._options.host else self._options.host
        address, tls = f"{host}:{self._options.grpc_port}", self._options.tls
        if tls is None:
            self.port = self._server.add_insecure_port(address)
        else:
            authority = tls.authority.read_bytes() if tls.authority is not None else None
            pair = [(tls.key.read_bytes(), tls.certificate.read_bytes())]
            made = grpc.ssl_server_credentials(pair, authority, require_client_auth=authority is not None)
            self.port = self._server.add_secure_port(address, made)
        await self._server.start()

    async def stop(self, grace_s: float) -> None:
        """Take nothing new; wait for what is going on."""
        if self._server is not None:
            await self._server.stop(grace_s)


def _http_of(status: str) -> int:
    from claimed_med.services import serve_error

    kinds = [
        one for one in vars(serve_error).values() if isinstance(one, type) and issubclass(one, serve_error.ServeError)
    ]
    known = {one.grpc: one.http for one in kinds} | {
        "INTERNAL": 500,
        "INVALID_ARGUMENT": 400,
        "RESOURCE_EXHAUSTED": 429,
    }
    return known.get(status, 500)


def _refusing(status: StatusCode, text: str) -> Any:
    async def refuse(_: Any, context: Any) -> None:
        await context.abort(status, text)

    return grpc.unary_unary_rpc_method_handler(
        refuse,
        request_deserializer=lambda given: given,
        response_serializer=pb.ModelInferResponse.SerializeToString,
    )
