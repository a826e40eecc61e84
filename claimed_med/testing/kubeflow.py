"""A Kubeflow Pipelines API server for tests, made from the client's own OpenAPI models (kfp-server-api).

Which paths there are, what a request body may hold and what an answer looks like all come from that package: an unknown
path, method or field is refused. A run is executed for real by the local engine, and its outputs are put into the
artifact store as Kubeflow lays it out.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import re
import threading
import uuid
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "a-token"  # noqa: S105 - of a server on the loopback that lives as long as a test
_ROUTE = re.compile(r"'(/apis/v2beta1/[^']+)', '([A-Z]+)',.*?response_type='(\w+)'", re.DOTALL)
_BODY = re.compile(r":type \w+: (V2beta1\w+)$", re.MULTILINE)
_STATES = {"done": "SUCCEEDED", "cached": "CACHED", "failed": "FAILED", "skipped": "SKIPPED"}


@dataclass
class Kubeflow:
    """What the server holds.

    Attributes:
        url: Where it listens.
        folder: Where runs are executed.
        pipelines: Id -> model.
        versions: Id -> (model, text of the uploaded file).
        runs: Id -> model.
        requests: Method and path of every request, in order.
        trouble: What the next questions for a run meet with: a status of HTTP, 0 for a cut connection, -1 for none.
        held: Runs end when this is set, and not before.
    """

    folder: Path
    url: str = ""
    pipelines: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, tuple[Any, str]] = field(default_factory=dict)
    runs: dict[str, Any] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    trouble: Iterator[int] = field(default_factory=lambda: iter(()))
    held: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.held.set()

    def upload_pipeline(self, name: str, text: str) -> Any:
        """A new pipeline with its first version."""
        import kfp_server_api as api

        one = api.V2beta1Pipeline(pipeline_id=str(uuid.uuid4()), display_name=name)
        self.pipelines[one.pipeline_id] = one
        self.upload_version(one.pipeline_id, name, text)
        return one

    def upload_version(self, pipeline_id: str, name: str, text: str) -> Any:
        """A new version of a pipeline."""
        import kfp_server_api as api

        one = api.V2beta1PipelineVersion(
            pipeline_id=pipeline_id, pipeline_version_id=str(uuid.uuid4()), display_name=name
        )
        self.versions[one.pipeline_version_id] = (one, text)
        return one

    def create_run(self, given: Any) -> Any:
        """Start a run; it is executed in a thread."""
        given.run_id, given.state = str(uuid.uuid4()), "PENDING"
        self.runs[given.run_id] = given
        self._threads.append(threading.Thread(target=self._execute, args=(given,), daemon=True))
        self._threads[-1].start()
        return given

    def end(self) -> None:
        """Let every run come to its end: none goes on beside the test after this one."""
        self.held.set()
        for thread in self._threads:
            thread.join()

    def _execute(self, run: Any) -> None:
        import kfp_server_api as api

        from claimed_med.engines.ir import load
        from claimed_med.engines.local import LocalEngine
        from claimed_med.engines.report import Report

        _, text = self.versions[run.pipeline_version_reference.pipeline_version_id]
        place = self.folder / run.run_id
        place.mkdir(parents=True)
        (place / "pipeline.yaml").write_text(text)
        pipeline, report = load(place / "pipeline.yaml"), Report(quiet=True)
        run.state = "RUNNING"
        run.run_details = api.V2beta1RunDetails(task_details=[])
        code = LocalEngine(place / "out", cache=None, report=report).run(pipeline, run.runtime_config.parameters or {})
        for title, task in report.tasks.items():
            name = title.rpartition("/")[2]
            error = api.GoogleRpcStatus(code=13, message=task.text) if task.status == "failed" else None
            told = api.V2beta1PipelineTaskDetail(
                run_id=run.run_id, task_id=title, display_name=name, state=_STATES[task.status], error=error
            )
            run.run_details.task_details.append(told)
            root = run.runtime_config.pipeline_root or str(self.folder / "store")  # a cluster has a store of its own
            for port, folder in task.ports.items():
                _put(folder, f"{root}/{pipeline.name}/{run.run_id}/{name}/{uuid.uuid4()}/{port}")
        self.held.wait()
        run.state = "FAILED" if code else "SUCCEEDED"


def _put(folder: Path, address: str) -> None:
    import fsspec

    system, base = fsspec.core.url_to_fs(address)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            target = f"{base}/{path.relative_to(folder).as_posix()}"
            system.makedirs(target.rpartition("/")[0], exist_ok=True)
            system.put_file(str(path), target)


@contextlib.contextmanager
def kubeflow(folder: Path) -> Iterator[Kubeflow]:
    """Start a server on a free port of the loopback, and stop it at the end of the block.

    Args:
        folder: Where runs are executed.
    """
    state = Kubeflow(folder)
    handler = type("Handler", (_Handler,), {"state": state, "routes": _routes()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        state.end()


def _routes() -> list[tuple[re.Pattern[str], str, str, str, str]]:
    """Path, method, operation, model of the body, model of the answer: as the generated client has them."""
    import kfp_server_api as api

    found = []
    for service in vars(api).values():
        if not (inspect.isclass(service) and service.__name__.endswith("ServiceApi")):
            continue
        for name, function in inspect.getmembers(service, inspect.isfunction):
            if not name.endswith("_with_http_info"):
                continue
            source = inspect.getsource(function)
            route, body = _ROUTE.search(source), _BODY.search(source)
            if route:
                pattern = re.compile(re.sub(r"\\\{([^}]+)\\\}", r"([^/:]+)", re.escape(route[1])) + "$")
                operation = name.removesuffix("_with_http_info")
                found.append((pattern, route[2], operation, body[1] if body else "", route[3]))
    return found


class _Handler(BaseHTTPRequestHandler):
    state: Kubeflow
    routes: list[tuple[re.Pattern[str], str, str, str, str]]

    def do_GET(self) -> None:
        """Answer a GET."""
        self._answer()

    def do_POST(self) -> None:
        """Answer a POST."""
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        """Say nothing."""

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.state.requests.append((self.command, parts.path))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._send(401, {"error": "no valid token"})
        for pattern, method, operation, body, _ in self.routes:
            match = pattern.fullmatch(unquote(parts.path))
            if match and method == self.command:
                status = next(self.state.trouble, -1) if operation == "run_service_get_run" else -1
                if status == 0:
                    self.close_connection = True
                    return None
                if status > 0:
                    return self._send(status, {"error": "trouble"})
                return self._call(operation, [*match.groups()], body, content, parse_qs(parts.query))
        return self._send(404, {"error": f"no {self.command} {parts.path}"})

    def _call(self, operation: str, ids: list[str], body: str, content: bytes, query: dict[str, list[str]]) -> None:
        import kfp_server_api as api

        given: Any = None
        if body not in {"", "object"}:
            told = json.loads(content)
            if unknown := _unknown(told, body):
                return self._send(400, {"error": f"unknown fields: {', '.join(unknown)}"})
            answer = type("Answer", (), {"data": content.decode()})
            given = api.ApiClient().deserialize(answer, body)
        function = getattr(self, f"_{operation}", None)
        if function is None:
            return self._send(501, {"error": f"{operation} is not part of this server"})
        try:
            made = function(ids, given, content, query)
        except KeyError:
            return self._send(404, {"error": "there is no such object"})
        return self._send(200, api.ApiClient().sanitize_for_serialization(made))

    def _send(self, code: int, content: Any) -> None:
        text = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _healthz_service_get_healthz(self, *_: Any) -> Any:
        import kfp_server_api as api

        return api.V2beta1GetHealthzResponse(multi_user=False)

    def _pipeline_service_list_pipelines(
        self, _ids: Any, _given: Any, _content: Any, query: dict[str, list[str]]
    ) -> Any:
        import kfp_server_api as api

        (wanted,) = json.loads(query["filter"][0])["predicates"]
        found = [one for one in self.state.pipelines.values() if one.display_name == wanted["stringValue"]]
        return api.V2beta1ListPipelinesResponse(pipelines=found or None, total_size=len(found))

    def _upload_pipeline(self, _ids: Any, _given: Any, content: bytes, query: dict[str, list[str]]) -> Any:
        return self.state.upload_pipeline(query["name"][0], self._file(content))

    def _upload_pipeline_version(self, _ids: Any, _given: Any, content: bytes, query: dict[str, list[str]]) -> Any:
        pipeline = self.state.pipelines[query["pipelineid"][0]]
        return self.state.upload_version(pipeline.pipeline_id, query["name"][0], self._file(content))

    def _pipeline_service_list_pipeline_versions(self, ids: list[str], *_: Any) -> Any:
        import kfp_server_api as api

        found = [one for one, _text in self.state.versions.values() if one.pipeline_id == ids[0]]
        return api.V2beta1ListPipelineVersionsResponse(pipeline_versions=found, total_size=len(found))

    def _experiment_service_list_experiments(self, *_: Any) -> Any:
        import kfp_server_api as api

        return api.V2beta1ListExperimentsResponse(experiments=None)

    def _experiment_service_create_experiment(self, _ids: Any, given: Any, *_: Any) -> Any:
        given.experiment_id = str(uuid.uuid4())
        return given

    def _run_service_create_run(self, _ids: Any, given: Any, *_: Any) -> Any:
        return self.state.create_run(given)

    def _run_service_get_run(self, ids: list[str], *_: Any) -> Any:
        return self.state.runs[ids[0]]

    def _file(self, content: bytes) -> str:
        """The uploaded file out of a multipart body; it must be YAML."""
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts: Any = message_from_bytes(head + content).get_payload()
        text = parts[0].get_payload(decode=True).decode()
        if not list(yaml.safe_load_all(text)):
            raise KeyError(text)
        return str(text)


def _unknown(told: Any, model: str) -> list[str]:
    """Fields of a request body that the model does not have, nested models included."""
    import kfp_server_api as api

    kind = getattr(api, model, None)
    if kind is None or not isinstance(told, dict) or not hasattr(kind, "attribute_map"):
        return []
    names = {wire: kind.openapi_types[name] for name, wire in kind.attribute_map.items()}
    found = [name for name in told if name not in names]
    return found + [inner for name, value in told.items() if name in names for inner in _unknown(value, names[name])]
