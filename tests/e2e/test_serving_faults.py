"""What goes wrong around a server: archives, disk, memory, bombs. It says so, stays up, and serves the others."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import resource
import socket
import threading
import time

import grpc
import psutil
import pytest
import requests
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

import claimed_med as cm
from claimed_med.dicom.file_bytes import file_of
from claimed_med.dicom.web import Archive
from claimed_med.prediction_log import PredictionLog
from claimed_med.testing import xrays
from claimed_med.testing.models import decide
from claimed_med.testing.routing import wait_for
from claimed_med.testing.servers import free_port
from claimed_med.testing.serving import classifier, prepared, serving

# requests, by UUIDs
NAMED, OTHER = "0f8fad5b-d9cb-469f-a165-70867728950e", "7c9e6679-7425-40de-944b-e07fc1f90ae7"
LIMITS = ("--max-upload-mib", "128", "--max-megavoxels", "40", "--deadline-s", "60")


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A DICOM radiograph."""
    folder = tmp_path_factory.mktemp("images")
    made = xrays.xrays(folder / "pictures", n_patients=1)
    cm.import_xrays(folder=str(made / "images"), table=str(made / "labels.csv")).images.save(folder / "series")
    return next((folder / "series").rglob("*.dcm"))


@pytest.fixture(scope="module")
def strange():
    """Servers that are no archives: one that is silent, one that sends garbage, one that redirects to a third."""
    asked = []

    class Garbage(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.server.server_port)
            self.send_response(302 if self.server is redirecting else 200)
            self.send_header("Location", f"http://127.0.0.1:{third.server_port}{self.path}")
            self.send_header("Content-Length", "7")
            self.end_headers()
            self.wfile.write(b"garbage")

        do_POST = do_GET  # noqa: N815 - as above

        def log_message(self, *_):
            pass

    class Endless(Garbage):
        def do_GET(self):
            is_list = self.path.partition("?")[0].endswith("/series")
            self.send_response(501 if is_list else 200)
            self.send_header("Content-Type", 'multipart/related; type="application/dicom"; boundary=x')
            self.send_header("Connection", "close")
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(b"" if is_list else b"--x\r\nContent-Type: application/dicom\r\n\r\n")
                while not is_list:
                    self.wfile.write(bytes(1 << 20) if self.server is endless else b"0")
                    time.sleep(0 if self.server is endless else 0.05)

    garbage, redirecting, third = (http.server.ThreadingHTTPServer(("127.0.0.1", 0), Garbage) for _ in range(3))
    endless, dripping = (http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endless) for _ in range(2))
    every = (garbage, redirecting, third, endless, dripping)
    for one in every:
        one.daemon_threads = True
        threading.Thread(target=one.serve_forever, daemon=True).start()
    silent = socket.create_server(("127.0.0.1", 0))
    ports = {
        "garbage": garbage.server_port,
        "redirecting": redirecting.server_port,
        "third": third.server_port,
        "endless": endless.server_port,
        "dripping": dripping.server_port,
        "silent": silent.getsockname()[1],
        "down": free_port(),
    }
    yield ports, asked, silent
    for one in every:
        one.shutdown()
        one.server_close()
    silent.close()


@pytest.fixture(scope="module")
def server(strange, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    bundle = classifier(folder / "bundle")
    origins = [
        word
        for name, port in strange[0].items()
        if name != "third"
        for word in ("--allow-origin", f"http://127.0.0.1:{port}")
    ]
    words = ("--decision", str(decide(bundle, folder / "decision")), *LIMITS, *origins)
    with serving(bundle, folder / "s", *words) as running:
        yield running


def _send(server, body, **headers):
    head = {"Content-Type": "application/dicom", "Accept": "application/json", **headers}
    return requests.post(f"{server.url}/v1/models/model:predict", data=body, headers=head, timeout=120)


def _fetch(server, port, **headers):
    body = json.dumps({"url": f"http://127.0.0.1:{port}/dicom-web/studies/1.2.3"})
    return _send(server, body, **{"Content-Type": "application/json", **headers})


def _serves(server):
    body = json.dumps({"instances": prepared(0).tolist()})
    return _send(server, body, **{"Content-Type": "application/json"}).status_code == 200


@pytest.mark.parametrize("fault", ["down", "garbage", "redirecting"])
def test_an_archive_that_fails_is_a_bad_gateway(fault, server, strange):
    ports, asked, _ = strange
    response = _fetch(server, ports[fault])
    assert response.status_code == 502, response.text
    assert str(ports[fault]) not in response.text
    assert ports["third"] not in asked
    assert _serves(server)


def test_an_archive_that_is_silent_keeps_nobody_else_waiting(server, strange):
    answers = []
    ask = functools.partial(_fetch, server, strange[0]["silent"], **{"X-Request-Timeout-S": "3"})
    thread = threading.Thread(target=lambda: answers.append(ask()))
    thread.start()
    assert _serves(server)
    thread.join()
    assert answers[0].status_code == 504


def test_an_archive_that_never_ends_is_cut_off(server, strange):
    response = _fetch(server, strange[0]["endless"])
    assert response.status_code == 413, response.text
    assert _serves(server)


def test_archives_that_drip_keep_no_worker(server, strange, image):
    """More of them than there are workers; whoever comes then is served."""
    answers = []
    ask = functools.partial(_fetch, server, strange[0]["dripping"], **{"X-Request-Timeout-S": "3"})
    threads = [threading.Thread(target=lambda: answers.append(ask().status_code)) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert answers == [504] * 4
    assert _send(server, image.read_bytes(), **{"X-Request-Timeout-S": "30"}).status_code == 200


def test_a_message_beyond_the_limit_is_refused_by_grpc_too(server):
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
    from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as protocol

    request = messages.ModelInferRequest(model_name="model", raw_input_contents=[bytes(130 << 20)])
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", options=options) as channel:
        caught = protocol.GRPCInferenceServiceStub(channel).ModelInfer.future(request, timeout=60).exception()
    assert isinstance(caught, grpc.RpcError)
    assert caught.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert _serves(server)


def test_a_deflated_bomb_is_refused(server, image, tmp_path):
    header = dcmread(image, stop_before_pixels=True)
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.save_as(tmp_path / "plain.dcm")
    content = (tmp_path / "plain.dcm").read_bytes()
    body = content[144 + int.from_bytes(content[140:144], "little") :]
    zeros = b"\xe0\x7f\x10\x00OW\0\0\0\0\0\x0c" + bytes(192 << 20)
    bomb = file_of(body + zeros, str(DeflatedExplicitVRLittleEndian), header.SOPClassUID, header.SOPInstanceUID)
    assert len(bomb) < 1 << 20
    response = _send(server, bomb)
    assert response.status_code == 413, response.text
    assert _serves(server)


def test_an_image_that_claims_to_be_huge_is_refused_by_its_header(server, image, tmp_path):
    header = dcmread(image)
    header.Rows, header.Columns, header.NumberOfFrames = 60_000, 60_000, 1
    header.save_as(tmp_path / "huge.dcm")
    response = _send(server, (tmp_path / "huge.dcm").read_bytes())
    assert response.status_code == 413
    assert _serves(server)


def test_a_stream_without_end_is_cut_off(server):
    def endless():
        for _ in range(1 << 20):
            yield bytes(1 << 20)

    try:
        status = _send(server, endless()).status_code
    except requests.ConnectionError:
        status = 413  # closed while we were sending: the answer may be lost, the refusal is not
    assert status == 413
    assert wait_for(lambda: server.lines("request")[-1]["status"] == 413)  # written after the answer
    assert _serves(server)


@pytest.mark.parametrize(("name", "is_at_work"), [(NAMED, True), (OTHER, False)])
def test_a_caller_that_goes_away_is_forgotten(server, strange, name, is_at_work):
    silent = strange[2]
    silent.settimeout(0)
    with contextlib.suppress(BlockingIOError):
        while True:
            silent.accept()[0].close()  # of the tests before
    body = json.dumps({"url": f"http://127.0.0.1:{strange[0]['silent']}/studies/1.2"}).encode()
    with contextlib.ExitStack() as held:
        connection = held.enter_context(socket.create_connection(("127.0.0.1", server.http_port), timeout=30))
        head = "POST /v1/models/model:predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        head += f"X-Request-Id: {name}\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        if is_at_work:
            silent.settimeout(120)
            held.enter_context(silent.accept()[0])  # the server asks the archive
        connection.close()
        found = wait_for(lambda: [one for one in server.lines("request") if one["request_id"] == name])
    assert found[0]["status"] == 499
    assert _serves(server)


def test_a_full_disk_is_said_and_gets_over(server, image):
    process = server.process.pid
    small = max(one.stat().st_size for one in server.audit.parent.glob("predictions*")) // 2
    before = resource.prlimit(process, resource.RLIMIT_FSIZE)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (small, before[1]))
    try:
        upload = _send(server, image.read_bytes() + bytes(small))
        tensor = _send(server, json.dumps({"instances": prepared(0).tolist()}), **{"Content-Type": "application/json"})
    finally:
        resource.prlimit(process, resource.RLIMIT_FSIZE, before)
    assert upload.status_code == 507
    assert tensor.status_code == 507
    assert _serves(server)


def test_too_little_memory_fails_one_request_only(server, image, tmp_path):
    header = dcmread(image)
    header.Rows = header.Columns = 6000
    header.PixelData = bytes(6000 * 6000 * header.BitsAllocated // 8)
    header.save_as(tmp_path / "large.dcm")
    process = server.process.pid
    before = resource.prlimit(process, resource.RLIMIT_AS)
    now = psutil.Process(process).memory_info().vms
    resource.prlimit(process, resource.RLIMIT_AS, (now + (100 << 20), before[1]))
    try:
        response = _send(server, (tmp_path / "large.dcm").read_bytes())
        others = _serves(server)
    finally:
        resource.prlimit(process, resource.RLIMIT_AS, before)
    assert response.status_code == 503, response.text
    assert others
    assert _serves(server)


def test_nothing_is_left_behind(server):
    wait_for(lambda: not list((server.audit.parent / "work").rglob("request-*")))
    assert not list((server.audit.parent / "work").rglob("request-*"))


@pytest.mark.orthanc
def test_from_an_archive_into_an_archive(archive_server, image, tmp_path):
    bundle = classifier(tmp_path / "bundle")
    study = str(dcmread(image).StudyInstanceUID)
    origin = archive_server.dicomweb_url.rsplit("/", 1)[0]
    words = ("--decision", str(decide(bundle, tmp_path / "decision")), "--allow-origin", origin)
    with Archive(archive_server.dicomweb_url) as archive, serving(bundle, tmp_path / "s", *words) as running:
        archive.store([image])
        asked = {"url": f"{archive_server.dicomweb_url}/studies/{study}", "store": archive_server.dicomweb_url}
        first = requests.post(f"{running.url}/v1/models/model:predict", json=asked, timeout=120)
        again = requests.post(f"{running.url}/v1/models/model:predict", json=asked, timeout=120)
        instances = archive.instances(study)
    assert first.status_code == 200, first.text
    assert set(first.json()["stored"]) <= set(instances)
    assert again.json()["stored"] == first.json()["stored"]
    assert len(instances) == 2


@pytest.mark.slow
def test_minutes_at_twice_the_capacity(tmp_path):
    """Ten minutes, or CLAIMED_MED_SOAK_S seconds; see benchmarks/bench_serving.py for the figures."""
    seconds = float(os.environ.get("CLAIMED_MED_SOAK_S", "600"))
    bundle = classifier(tmp_path / "bundle")
    words = ("--decision", str(decide(bundle, tmp_path / "decision")), "--max-waiting", "8", "--max-batch", "4")
    body = json.dumps({"instances": prepared(0).tolist()}).encode()
    statuses, memory, lock, until = {}, [], threading.Lock(), time.monotonic() + seconds

    def ask():
        session = requests.Session()
        while time.monotonic() < until:
            try:
                head = {"Content-Type": "application/json"}
                found = session.post(
                    f"{running.url}/v1/models/model:predict", data=body, headers=head, timeout=120
                ).status_code
            except requests.ConnectionError:
                found = 0
            with lock:
                statuses[found] = statuses.get(found, 0) + 1

    with serving(bundle, tmp_path / "s", *words) as running:
        threads = [threading.Thread(target=ask) for _ in range(32)]  # far more than fit: 8 wait, 4 are computed
        for one in threads:
            one.start()
        while time.monotonic() < until:
            memory.append(psutil.Process(running.process.pid).memory_info().rss)
            time.sleep(min(1.0, seconds / 20))
        for one in threads:
            one.join()
        assert running.stop() == 0
        unfinished = running.lines("stop")[0]["unfinished"]
    log = PredictionLog(str(running.log))
    recorded = sum(log.models().values())
    log.close()
    third = len(memory) // 3
    assert set(statuses) == {200, 429}
    assert recorded == statuses[200]
    assert unfinished == 0
    assert sorted(memory[-third:])[third // 2] < 1.1 * sorted(memory[third : 2 * third])[third // 2]
