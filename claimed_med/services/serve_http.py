"""The HTTP face: V1 `:predict` and `:explain`, v2 `infer`, with tensors or DICOM."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from claimed_med.errors import ContractError, InputError
from claimed_med.services import serve_job, serve_v2
from claimed_med.services.serve_access import App, Receive, Send
from claimed_med.services.serve_dicom import Asked, Dicom, Result, failure
from claimed_med.services.serve_error import WHERE, Cancelled, NotTaken, NotThere
from claimed_med.services.serve_explain import explain_image, explain_series, method_for
from claimed_med.services.serve_job import Job
from claimed_med.services.serve_record import Recorder
from claimed_med.services.serve_tensor import Tensors, digest_of, within

_LARGE = 1 << 20
_WATCH_S = 0.05  # from then on it is noticed when the caller goes; most answers are faster
LENGTH = b"inference-header-content-length"
_INFER = re.compile(r"/v2/models/([^/]+)/infer")
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
        ):
            made.add_api_route(path, endpoint, methods=["POST"], response_model=None, include_in_schema=False)
        return made

    async def infer(self, name: str, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Open Inference Protocol v2, as JSON or with binary tensors."""
        self._known(name)
        length = next((value.decode("latin-1") for name, value in scope["headers"] if name.lower() == LENGTH), "")
        given = serve_v2.from_body(await _received(receive), length)
        outputs, about = await _while_there(receive, self.tensors.infer(given))
        content, json_length = serve_v2.to_body(given, name, outputs, about)
        kind = [(b"content-type", b"application/octet-stream" if json_length else JSON.encode())]
        told = [(LENGTH, b"%d" % json_length)] if json_length else []
        head = [*kind, *told, (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": content})

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
        answer = await _while_there(request.receive, self.tensors.predict(content))
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
        images = self.tensors.images_of(content, served)
        told = {"method": chosen, "n_images": len(images), "input_digest": digest_of(images)}
        _job().told |= served.about | told
        found = [
            await _awaited(request, self.pool.submit(copy_context().run, explain_image, served, one, chosen))
            for one in images
        ]
        rows = [{"score": one.score, "attribution": one.maps[chosen]} for one in found]
        answer = {
            "method": chosen,
            "positive": served.bundle.positive,
            **served.about,
            "explanations": rows,
        }
        return Response(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), media_type=JSON)

    async def _dicom(self, request: Request, asked: Asked, method: str | None) -> Response:
        self.dicom.allow(asked)
        kind = request.headers.get("content-type", "")
        accept = request.headers.get("accept", "")
        with contextlib.ExitStack() as stack:
            place = stack.enter_context(self.dicom.place())
            if not asked.url:
                await _to_file(request, place / "body")
            work = self.pool.submit(copy_context().run, self._work, place, kind, asked, method)
            kept = stack.pop_all()
            work.add_done_callback(lambda _: kept.close())  # not before: the thread may still write into the folder
        return _answer(*await _awaited(request, work), accept=accept)

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
        try:
            results = self.dicom.predict(folder, self.tensors.models, job)
        except InputError:
            self._record([], job, is_refused=True)
            raise
        return self._recorded(results, asked, place, job)

    def _recorded(
        self, results: list[Result], asked: Asked, place: Path, job: Job
    ) -> tuple[dict[str, Any], dict[str, bytes]]:
        job.told |= {"n_series": len(results), "n_refused": sum(not one.objects for one in results)}
        self._record(results, job)
        if error := failure(results):
            raise error
        job.check()
        self.dicom.kept.records([one.lineage for one in results if one.lineage])
        objects = {uid: content for one in results for uid, content in one.objects.items()}
        told: dict[str, Any] = {
            "request_id": job.request_id,
            "predictions": [one.told for one in results],
            "lineage": {uid: one.lineage for one in results for uid in one.objects},
            "skipped": job.told.get("skipped", {}),
        }
        if asked.store:
            with job.stage("store"):
                self.dicom.store(objects, asked.store, place / "store")
            told["stored"] = sorted(objects)
        return told, objects

    def _record(self, results: Sequence[Result], job: Job, *, is_refused: bool = False) -> None:
        unread = self.dicom.unread(self.tensors.models, job, is_all=is_refused)
        if results or unread:
            made = [*(one.prediction for one in results), *unread]
            self.recorder.record(lambda: made).result(max(0.1, job.left_s))

    def _explained(self, folder: Path, method: str, asked: Asked) -> tuple[dict[str, Any], dict[str, bytes]]:
        served = self.tensors.models.stable
        chosen = method_for(served, method)
        rows: list[dict[str, Any]] = []
        objects: dict[str, bytes] = {}
        for entry in self.dicom.listed(folder, _job()):
            told, made = explain_series(served, entry, chosen, self.dicom.kept)
            rows.append(told)
            objects |= made
        job = _job()
        answer: dict[str, Any] = {"request_id": job.request_id, "explanations": rows, "model_digest": served.digest}
        answer["skipped"] = job.told.get("skipped", {})
        if asked.store:
            with serve_job.stage("store"):
                self.dicom.store(objects, asked.store, folder.parent / "store")
            answer["stored"] = sorted(objects)
        return answer, objects

    def _known(self, name: str) -> None:
        if name != self.tensors.name:
            raise NotThere(WHERE, "there is no model of this name", allowed=self.tensors.name)


class Around:
    """ASGI middleware that answers `infer` before the application does: a framework takes longer than a small model.

    Args:
        app: What answers all else.
        face: Of the server.
    """

    def __init__(self, app: App, face: Face) -> None:
        self.app, self.face = app, face

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        is_post = scope["type"] == "http" and scope["method"] == "POST"
        found = _INFER.fullmatch(scope["path"]) if is_post else None
        if found is None:
            await self.app(scope, receive, send)
        else:
            await self.face.infer(found[1], scope, receive, send)


async def _awaited(request: Request, work: Future[Any]) -> Any:
    return await _while_there(request.receive, within(asyncio.wrap_future(work), _job()))


async def _while_there(receive: Receive, work: Coroutine[Any, Any, Any]) -> Any:
    """Do the work as long as the caller waits for it.

    Raises:
        Cancelled: The caller has gone.
    """
    job, task, loop = _job(), asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None  # noqa: S101 - of every coroutine
    watching: list[asyncio.Task[None]] = []

    def on_gone(_: Any) -> None:
        job.cancelled.set()
        task.cancel()

    def watch() -> None:
        watching.append(loop.create_task(_gone(receive)))
        watching[0].add_done_callback(on_gone)

    soon = loop.call_later(_WATCH_S, watch)
    try:
        return await work
    except asyncio.CancelledError:
        if not (watching and watching[0].done()):  # the server is what stops
            raise
        task.uncancel()
        raise Cancelled(WHERE, "the caller has gone") from None
    finally:
        soon.cancel()
        for one in watching:
            one.remove_done_callback(on_gone)
            one.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _received(receive: Receive) -> bytes:
    """The body, without the request object of a framework.

    Raises:
        Cancelled: The caller has gone before it was whole.
    """
    with serve_job.stage("receive"):
        parts, is_whole = [], False
        while not is_whole:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Cancelled(WHERE, "the caller has gone")
            parts.append(message.get("body", b""))
            is_whole = not message.get("more_body", False)
        return parts[0] if len(parts) == 1 else b"".join(parts)


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


def _kind(request: Request) -> str:
    return str(request.headers.get("content-type", "")).split(";")[0].strip().lower()


def _job() -> Job:
    job = serve_job.current.get()
    if job is None:
        raise ContractError(WHERE, "a route needs a request")
    return job
