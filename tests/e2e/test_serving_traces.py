"""OpenTelemetry of the server, by the usual variables, at a real collector over HTTP; and without one."""

from __future__ import annotations

import gzip
import http.server
import json
import threading

import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from pydicom import dcmread

import claimed_med as cm
from claimed_med.testing import xrays
from claimed_med.testing.models import decide
from claimed_med.testing.servers import free_port
from claimed_med.testing.serving import classifier, prepared, serving

pytestmark = pytest.mark.xdist_group("clinic")
PLANTED = "PLANTEDSURNAME"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector(http.server.ThreadingHTTPServer):
    """Takes OTLP over HTTP as protobuf."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests, self.headers = [], []

    def spans(self):
        return [
            one
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for one in scope.spans
        ]

    def services(self):
        told = (
            one
            for request in self.requests
            for resource in request.resource_spans
            for one in resource.resource.attributes
        )
        return {one.value.string_value for one in told if one.key == "service.name"}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        assert self.path == "/v1/traces"
        self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        self.server.headers.append(dict(self.headers))
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    bundle = classifier(folder / "bundle")
    return bundle, decide(bundle, folder / "decision")


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    made = xrays.xrays(folder / "pictures", n_patients=1)
    cm.import_xrays(folder=str(made / "images"), table=str(made / "labels.csv")).images.save(folder / "series")
    path = next((folder / "series").rglob("*.dcm"))
    header = dcmread(path)
    header.PatientName = f"{PLANTED}^Erika"
    header.save_as(path)
    return path


def ask(server, body, kind, verb="predict", **headers):
    head = {"Content-Type": kind, "Accept": "application/json", **headers}
    return requests.post(f"{server.url}/v1/models/model:{verb}", data=body, headers=head, timeout=120)


def test_stages_are_spans_below_the_callers_and_name_nobody(model, image, tmp_path):
    collector = Collector()
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=radiology",
        "OTEL_SERVICE_NAME": "xray-serving",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
    }
    content, traced = image.read_bytes(), {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    tensor = json.dumps({"instances": prepared(0).tolist()})
    with serving(model[0], tmp_path, "--decision", str(model[1]), environment=environment) as running:
        assert ask(running, content, "application/dicom", **traced).status_code == 200
        assert ask(running, content, "application/dicom", "explain").status_code == 200
        assert ask(running, tensor, "application/json").status_code == 200
        assert ask(running, PLANTED.encode() * 50, "application/dicom").status_code == 422
        assert ask(running, content, "application/dicom", traceparent="nonsense").status_code == 200
        assert running.stop() == 0  # what was not sent yet is sent at the end
    collector.shutdown()
    collector.server_close()
    spans = collector.spans()
    mine = {one.span_id: one for one in spans if one.trace_id.hex() == TRACE}
    (root,) = [one for one in mine.values() if one.parent_span_id.hex() == PARENT]
    below = {one.name for one in mine.values() if one.parent_span_id == root.span_id}
    assert {"receive", "unpack", "read", "predict", "encode"} <= below
    assert {"explain"} <= {one.name for one in spans}
    assert all(one.end_time_unix_nano >= one.start_time_unix_nano > 0 for one in spans)
    assert {one.value.string_value for one in root.attributes if one.key == "route"} == {"dicom"}
    assert collector.services() == {"xray-serving"}
    assert {one.get("x-tenant") for one in collector.headers} == {"radiology"}
    sent = b"".join(one.SerializeToString() for one in collector.requests)
    header = dcmread(image, stop_before_pixels=True)
    words = [PLANTED, str(header.PatientID), str(header.StudyInstanceUID), str(header.SOPInstanceUID)]
    assert [one for one in words if one.encode() in sent] == []


def test_without_a_collector_the_server_serves_and_ends(model, image, tmp_path):
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "2",
    }
    with serving(model[0], tmp_path, "--decision", str(model[1]), environment=environment) as running:
        found = [ask(running, image.read_bytes(), "application/dicom").status_code for _ in range(5)]
        assert running.stop() == 0
    assert found == [200] * 5
    assert PLANTED not in running.output.read_text()
