"""The HTTP face: V1 `:predict` and `:explain`, v2 `infer`, with tensors or DICOM."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from kserve.protocol.infer_type import InferInput, InferRequest, RequestedOutput

from claimed_med.errors import ClaimedMedError, ContractError
from claimed_med.services import serve_job
from claimed_med.services.serve_dicom import Asked, Dicom, Result, failure
from claimed_med.services.serve_error import WHERE, Cancelled, NotTaken, NotThere
from claimed_med.services.serve_explain import explain_image, explain_series, method_for
from claimed_med.services.serve_job import Job
from claimed_med.services.serve_record import Recorder
from claimed_med.services.serve_tensor import Tensors, wait_for

_LARGE = 1 << 20
LENGTH = "inference-header-content-length"
_KEYS = ("name", "shape", "datatype", "data")
DICOM, JSON = "application/dicom", "application/json"


@dataclass
class Face:
    """What the routes work with.

    Attributes:
        tensors: The model.
        dicom: Works on DICOM.
        recorder: Writes predictions down.
        pool: Threads for DICOM.
    """

    tensors: Tensors
    dicom: Dicom
    recorder: Recorder
    pool: ThreadPoolExecutor

    def router(self) -> APIRouter:
        """The routes; they stand before kserve's own of the same paths."""
        made = APIRouter()
        for path, endpoint in (
            ("/v1/models/{name}:predict", self.predict),
            ("/v1/models/{name}:explain", self.explain),
            ("/v2/models/{name}/infer", self.infer),
        ):
            made.add_api_route(path, endpoint, methods=["POST"], response_model=None, include_in_schema=False)
        return made

    async def infer(self, name: str, request: Request) -> Response:
        """Open Inference Protocol v2, as JSON or with binary tensors."""
        self._known(name)
        body = await _body(request)
        given = _infer_request(name, body, request.headers.get(LENGTH, ""))
        answer = await _while_there(request, self.tensors.predict(given))
        content, json_length = answer.to_rest()
        if isinstance(content, bytes):
            return Response(content, headers={LENGTH: str(json_length)}, media_type="application/octet-stream")
        return Response(orjson.dumps(content), media_type=JSON)

    async def predict(self, name: str, request: Request) -> Response:
        """V1: tensors as `instances`, a `url` of an archive, or an upload of DICOM."""
        self._known(name)
        job = _job()
        if job.route == "dicom":
            return await self._dicom(request, Asked(store=request.query_params.get("store", "")), None)
        content = await _parsed(await _body(request))
        if "url" in content:
            job.route = "dicom"
            return await self._dicom(request, _asked(content), None)
        answer = await _while_there(request, self.tensors.predict(content))
        return Response(orjson.dumps(answer), media_type=JSON)

    async def explain(self, name: str, request: Request) -> Response:
        """V1: why; the same contents as `predict`, and `method`."""
        self._known(name)
        kind = _kind(request)
        method = request.query_params.get("method", "")
        if kind == DICOM or kind.startswith("multipart/"):
            return await self._dicom(request, Asked(store=request.query_params.get("store", "")), method)
        content = await _parsed(await _body(request))
        method = str(content.get("method", method))
        if "url" in content:
            return await self._dicom(request, _asked(content), method)
        served = self.tensors.models.stable
        chosen = method_for(served, method)
        images = self.tensors.images_of(content)
        found = [await self._in_pool(request, partial(explain_image, served, one, chosen)) for one in images]
        rows = [{"score": one.score, "attribution": one.maps[chosen]} for one in found]
        answer = {
            "method": chosen,
            "positive": served.bundle.positive,
            "model_digest": served.digest,
            "explanations": rows,
        }
        return Response(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), media_type=JSON)

    async def _dicom(self, request: Request, asked: Asked, method: str | None) -> Response:
        self.dicom.allow(asked)
        with contextlib.ExitStack() as stack:
            place = stack.enter_context(self.dicom.place())
            kept = stack.pop_all()
        try:
            if not asked.url:
                await _to_file(request, place / "body")
            kind = request.headers.get("content-type", "")
            accept = request.headers.get("accept", "")
            made = await self._in_pool(request, lambda: self._work(place, kind, asked, method))
        finally:
            await asyncio.shield(asyncio.to_thread(kept.close))
        return _answer(*made, accept=accept)

    def _work(
        self, place: Path, kind: str, asked: Asked, method: str | None
    ) -> tuple[dict[str, Any], dict[str, bytes]]:
        """In a thread: everything from the files to the results."""
        job = _job()
        folder = place / "in"
        with job.stage("fetch" if asked.url else "unpack"):
            if asked.url:
                self.dicom.fetch(asked.url, folder)
            else:
                self.dicom.unpack(place / "body", kind, folder)
            self.dicom.check(folder)
        job.check()
        if method is not None:
            return self._explained(folder, method, asked)
        results = self.dicom.predict(folder, self.tensors.models, job)
        return self._recorded(results, asked, place, job)

    def _recorded(
        self, results: list[Result], asked: Asked, place: Path, job: Job
    ) -> tuple[dict[str, Any], dict[str, bytes]]:
        job.told |= {"n_series": len(results), "n_refused": sum(not one.objects for one in results)}
        self.recorder.record([one.prediction for one in results]).result(max(0.1, job.left_s))
        if error := failure(results):
            raise error
        job.check()
        self.dicom.kept.records([one.lineage for one in results if one.lineage])
        objects = {uid: content for one in results for uid, content in one.objects.items()}
        told: dict[str, Any] = {
            "request_id": job.request_id,
            "predictions": [one.told for one in results],
            "lineage": {uid: one.lineage for one in results for uid in one.objects},
        }
        if asked.store:
            with job.stage("store"):
                self.dicom.store(objects, asked.store, place / "store")
            told["stored"] = sorted(objects)
        return told, objects

    def _explained(self, folder: Path, method: str, asked: Asked) -> tuple[dict[str, Any], dict[str, bytes]]:
        served = self.tensors.models.stable
        chosen = method_for(served, method)
        rows: list[dict[str, Any]] = []
        objects: dict[str, bytes] = {}
        for entry in self.dicom.listed(folder):
            told, made = explain_series(served, entry, chosen, self.dicom.kept)
            rows.append(told)
            objects |= made
        answer: dict[str, Any] = {"request_id": _job().request_id, "explanations": rows, "model_digest": served.digest}
        if asked.store:
            with serve_job.stage("store"):
                self.dicom.store(objects, asked.store, folder.parent / "store")
            answer["stored"] = sorted(objects)
        return answer, objects

    async def _in_pool(self, request: Request, work: Callable[[], Any]) -> Any:
        future = self.pool.submit(copy_context().run, work)
        return await _while_there(request, wait_for(future, _job()))

    def _known(self, name: str) -> None:
        if name != self.tensors.name:
            raise NotThere(WHERE, "there is no model of this name", allowed=self.tensors.name)


async def _while_there(request: Request, work: Any) -> Any:
    """Do the work as long as the caller waits for it.

    Raises:
        Cancelled: The caller has gone.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        done, _ = await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            return task.result()
        _job().cancelled.set()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task
        raise Cancelled(WHERE, "the caller has gone")
    finally:
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _body(request: Request) -> bytes:
    with serve_job.stage("receive"):
        return bytes(await request.body())


async def _to_file(request: Request, path: Path) -> None:
    with serve_job.stage("receive"), path.open("wb") as stream:
        async for chunk in request.stream():
            stream.write(chunk)


def _answer(told: dict[str, Any], objects: dict[str, bytes], *, accept: str) -> Response:
    """The objects with what is told of them; as JSON, or one object alone, where that is what is accepted."""
    if accept.split(",", maxsplit=1)[0].split(";", maxsplit=1)[0].strip().lower() == JSON or (
        "stored" in told and DICOM not in accept
    ):
        return Response(orjson.dumps(told), media_type=JSON)
    if accept.strip().lower() == DICOM:
        if len(objects) != 1:
            raise NotTaken(WHERE, "there are several objects", got=len(objects), allowed="Accept: multipart/related")
        return Response(next(iter(objects.values())), media_type=DICOM)
    boundary = secrets.token_hex(16)
    parts = [(JSON, orjson.dumps(told)), *((DICOM, content) for content in objects.values())]
    body = b"".join(
        b"--%b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b\r\n"
        % (boundary.encode(), kind.encode(), len(content), content)
        for kind, content in parts
    )
    kind = f'multipart/related; type="{JSON}"; boundary={boundary}'
    return Response(body + b"--" + boundary.encode() + b"--\r\n", media_type=kind)


async def _parsed(body: bytes) -> dict[str, Any]:
    """The JSON of a body; a large one in a thread, so that others are heard meanwhile."""
    return await asyncio.to_thread(_json, body) if len(body) > _LARGE else _json(body)


def _asked(content: dict[str, Any]) -> Asked:
    url, store = content.get("url"), content.get("store", "")
    if not isinstance(url, str) or not isinstance(store, str):
        raise ContractError(WHERE, "url and store are texts", allowed="https://HOST/PATH/studies/UID")
    return Asked(url, store)


def _json(body: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(body)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ContractError(WHERE, "the body is no JSON object", allowed='{"instances": [...]} or {"url": "..."}')
    return content


def _infer_request(name: str, body: bytes, length: str) -> InferRequest:
    """The request of a body.

    Raises:
        ContractError: It is none.
    """
    try:
        if length:
            return InferRequest.from_bytes(body, int(length), name)
        content = _json(body)
        given = content["inputs"]
        inputs = [InferInput(*(one[key] for key in _KEYS), one.get("parameters")) for one in given]
        asked = content.get("outputs")
        outputs = [RequestedOutput(one["name"], one.get("parameters")) for one in asked] if asked else None
        more = content.get("parameters") or {}
        return InferRequest(name, inputs, content.get("id"), parameters=more, request_outputs=outputs)
    except ClaimedMedError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a body can do to a parser; its text may quote the body
        told = type(error).__name__
        raise ContractError(
            WHERE, "the body is no inference request", got=told, allowed="Open Inference Protocol v2"
        ) from None


def _kind(request: Request) -> str:
    return str(request.headers.get("content-type", "")).split(";")[0].strip().lower()


def _job() -> Job:
    job = serve_job.current.get()
    if job is None:
        raise ContractError(WHERE, "a route needs a request")
    return job
