"""A real server in a process of its own: what it answers, what it refuses, and what it survives."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import orjson
import pytest
import requests
import trustme
from pydicom import dcmread

import claimed_med as cm
from claimed_med.dicom.web_multipart import boundary_of, parts
from claimed_med.payload import folder_digest
from claimed_med.prediction_log import PredictionLog
from claimed_med.services.serve_job import Job
from claimed_med.services.serve_tensor import digest_of
from claimed_med.testing import phantoms, xrays
from claimed_med.testing.models import decide
from claimed_med.testing.routing import wait_for
from claimed_med.testing.serving import classifier, prepared, refused, segmenter, serving

TOKEN = "a-token-of-many-letters"  # noqa: S105 - of a test
PLANTED = "PLANTEDSURNAME"
WHY = "night shift, ticket 7"
NAMED = "0f8fad5b-d9cb-469f-a165-70867728950e"  # a request, by a UUID


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A bundle and a decision that blesses it."""
    folder = tmp_path_factory.mktemp("model")
    bundle = classifier(folder / "bundle")
    return bundle, decide(bundle, folder / "decision")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Another bundle of the same question, and a decision that blesses it."""
    folder = tmp_path_factory.mktemp("other")
    bundle = classifier(folder / "bundle", seed=1)
    return bundle, decide(bundle, folder / "decision")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """DICOM radiographs, with a planted name."""
    folder = tmp_path_factory.mktemp("images")
    made = xrays.xrays(folder / "pictures", n_patients=4)
    taken = cm.import_xrays(folder=str(made / "images"), table=str(made / "labels.csv")).images
    taken.save(folder / "series")
    files = sorted((folder / "series").rglob("*.dcm"))
    for path in files:
        header = dcmread(path)
        header.PatientName = f"{PLANTED}^Erika"
        header.save_as(path)
    return files


@pytest.fixture(scope="module")
def server(model, tmp_path_factory):
    """A server without batching, so that its answers are those of the component."""
    bundle, decision = model
    with serving(bundle, tmp_path_factory.mktemp("server"), "--decision", str(decision), "--max-batch", "1") as running:
        yield running


@pytest.fixture(scope="module")
def overridden(model, tmp_path_factory):
    """A server that batches, of a copy of the bundle, by an override; and the copy."""
    folder = tmp_path_factory.mktemp("overridden")
    bundle = folder / "bundle"
    shutil.copytree(model[0], bundle)
    with serving(bundle, folder / "s", "--override", WHY, "--max-batch", "8") as running:
        yield running, bundle


@pytest.fixture(scope="module")
def swappable(model, other, tmp_path_factory):
    """A server with a canary, whose stable bundle and decision are links; and these."""
    folder = tmp_path_factory.mktemp("swappable")
    link, decision = folder / "current", folder / "decision"
    link.symlink_to(model[0])
    decision.symlink_to(model[1])
    words = ("--canary", str(other[0]), "--canary-decision", str(other[1]), "--canary-percent", "50")
    with serving(link, folder / "s", "--decision", str(decision), *words) as running:
        yield running, link, decision


def _predict(server, body, kind="application/dicom", verb="predict", **headers):
    address = f"{server.url}/v1/models/model:{verb}"
    return requests.post(address, data=body, headers={"Content-Type": kind, **headers}, timeout=120)


def _tensor(server, images, **headers):
    content = {
        "inputs": [
            {"name": "image", "shape": list(images.shape), "datatype": "FP32", "data": images.reshape(-1).tolist()}
        ]
    }
    return requests.post(f"{server.url}/v2/models/model/infer", json=content, headers=headers, timeout=120)


def _outputs(response):
    return {one["name"]: one["data"] for one in response.json()["outputs"]}


def _stub(port, credentials=None):
    from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as protocol

    address = f"127.0.0.1:{port}"
    channel = grpc.insecure_channel(address) if credentials is None else grpc.secure_channel(address, credentials)
    return protocol.GRPCInferenceServiceStub(channel)


def _request(images, name="model"):
    from kserve.protocol.infer_type import InferInput, InferRequest

    one = InferInput("image", list(images.shape), "FP32")
    one.set_data_from_numpy(images, binary_data=True)
    return InferRequest(name, [one]).to_grpc()


def _line(server, name):
    """The audit line of a request: written after the answer is sent."""
    return wait_for(lambda: [one for one in server.lines("request") if one["request_id"] == name])[0]


def _recorded(server, line):
    """The rows of the record that belong to a request."""
    log = PredictionLog(str(server.log))
    found = [one for one in log.read() if one.request_id == line["request_id"]]
    log.close()
    return found


def _parts(response):
    kind = response.headers["Content-Type"]
    told, *objects = (b"".join(part) for part in parts(iter([response.content]), boundary_of(kind)))
    return orjson.loads(told), objects


def test_dicom_answer_is_the_component_to_the_byte(server, model, images, tmp_path):
    path = images[0]
    response = _predict(server, path.read_bytes())
    assert response.status_code == 200
    told, (report,) = _parts(response)
    expected = cm.classify_images(cm.DicomSeries(path), cm.ModelBundle(model[0])).report.save(tmp_path / "expected")
    assert report == (expected / "report.dcm").read_bytes()
    (one,) = told["predictions"]
    record = told["lineage"][one["objects"][0]]
    assert record["component"] == "classify-images"
    assert record["units"][0]["inputs"]["images"]["sop_uids"] == [str(dcmread(path).SOPInstanceUID)]
    assert record["units"][0]["statements"]["served_as"] == "model/stable"


def test_all_faces_say_the_same(server, model):
    image = prepared(1)
    expected = cm.ModelBundle(model[0]).load().probabilities(image)
    rest = _outputs(_tensor(server, image))
    assert rest["probabilities"] == expected[0].tolist()
    v1 = _predict(server, json.dumps({"instances": image.tolist()}), "application/json").json()["predictions"][0]
    assert list(v1["probabilities"].values()) == expected[0].tolist()
    from kserve.protocol.infer_type import InferResponse

    answer = InferResponse.from_grpc(_stub(server.grpc_port).ModelInfer(_request(image)))
    raw = {one.name: one.as_numpy() for one in answer.outputs}
    assert np.array_equal(raw["probabilities"], expected)
    assert raw["predicted"].tolist() == [v1["predicted"].encode()]


def test_several_series_come_with_one_answer_each(server, images):
    uploads = [("file", ("../../etc/passwd", path.read_bytes())) for path in images[:3]]
    response = requests.post(f"{server.url}/v1/models/model:predict", files=uploads, timeout=120)
    told, objects = _parts(response)
    assert [one["outcome"] for one in told["predictions"]] == ["answered"] * 3
    assert len(objects) == 3


def test_a_series_that_cannot_be_used_keeps_no_other_out(server, images, tmp_path):
    phantoms.write("chest_ct", tmp_path / "ct")
    uploads = [("file", path.read_bytes()) for path in [images[0], *sorted((tmp_path / "ct").rglob("*.dcm"))]]
    told, objects = _parts(requests.post(f"{server.url}/v1/models/model:predict", files=uploads, timeout=120))
    assert sorted(one["outcome"] for one in told["predictions"]) == ["answered", "refused"]
    assert len(objects) == 1


def test_a_damaged_file_beside_a_good_one_is_said_and_counted(server, images):
    damaged = images[1].read_bytes()[:200]
    uploads = [("file", images[0].read_bytes()), ("file", damaged), ("file", b"no DICOM at all" * 20)]
    told, objects = _parts(requests.post(f"{server.url}/v1/models/model:predict", files=uploads, timeout=120))
    line = _line(server, told["request_id"])
    assert len(objects) == 1
    assert sum(told["skipped"].values()) == 2
    assert line["skipped"] == told["skipped"]
    assert "NotDicom" in told["skipped"]
    rows = _recorded(server, line)
    assert sorted(one.outcome for one in rows) == ["answered", "refused"]
    assert "NotDicom" in next(one.reason for one in rows if one.outcome == "refused")
    assert len({one.model_digest for one in rows}) == 1


def test_a_copy_of_an_image_is_no_refusal_and_a_request_without_an_image_is_one(server, images):
    content = images[0].read_bytes()
    told, _ = _parts(requests.post(f"{server.url}/v1/models/model:predict", files=[("file", content)] * 2, timeout=120))
    assert told["skipped"] == {"RepeatedInstance": 1}
    assert [one.outcome for one in _recorded(server, _line(server, told["request_id"]))] == ["answered"]
    refused = requests.post(f"{server.url}/v1/models/model:predict", files=[("file", b"no DICOM" * 40)], timeout=120)
    assert refused.status_code == 422
    (row,) = _recorded(server, _line(server, refused.headers["X-Request-Id"]))
    assert (row.outcome, row.reason) == ("refused", "InputError NotDicom")


def test_an_explanation_of_a_tensor_leaves_its_digest_in_the_audit(server):
    images = prepared(3)
    body = json.dumps({"instances": images.tolist()})
    response = _predict(server, body, "application/json", "explain")
    assert response.status_code == 200
    line = _line(server, response.headers["X-Request-Id"])
    assert line["route"] == "explain"
    assert line["input_digest"] == digest_of(images)
    assert len(line["model_digest"]) == 64


def test_every_prediction_is_recorded_without_a_name(server, images):
    told, _ = _parts(_predict(server, images[1].read_bytes(), **{"X-Request-Id": "1.2.840.DOE.JANE"}))
    log = PredictionLog(str(server.log))
    (row,) = [one for one in log.read() if one.request_id == Job("", 0.0, "1.2.840.DOE.JANE").written_id]
    log.close()
    assert row.prediction_id == told["predictions"][0]["prediction_id"]
    assert row.model_digest == told["predictions"][0]["model_digest"]
    assert row.score == told["predictions"][0]["score"]
    assert row.embedding_kind == "penultimate"
    assert len(row.embedding) > 1
    assert row.attributes["sex"] in {"F", "M"}
    assert row.features["rows"] == 64.0
    assert "intensity_mean" in row.features


def test_nothing_that_is_written_names_the_patient(server, images):
    junk = PLANTED.encode() * 100
    for body, kind in (
        (images[0].read_bytes(), "application/dicom"),
        (junk, "application/dicom"),
        (junk, "application/json"),
    ):
        _predict(server, body, kind)
    metrics = requests.get(f"{server.url}/metrics", timeout=30).text
    written = [path.read_bytes() for path in server.audit.parent.glob("*") if path.is_file()]
    assert "claimed_med_requests_total" in metrics
    assert PLANTED not in metrics
    assert not [one for one in written if PLANTED.encode() in one]


def test_metrics_name_stages_batches_and_the_model(server, model):
    _tensor(server, prepared(3))
    text = requests.get(f"{server.url}/metrics", timeout=30).text
    digest = folder_digest(model[0])
    for told in ('stage="queue"', 'stage="compute"', "claimed_med_batch_images_bucket", "claimed_med_waiting", digest):
        assert told in text


def test_an_answer_can_be_explained(server, images):
    response = _predict(server, images[0].read_bytes(), verb="explain")
    told, objects = _parts(response)
    assert told["explanations"][0]["method"] == "grad_cam"
    assert len(objects) == 2
    tensor = _predict(
        server, json.dumps({"instances": prepared(1).tolist(), "method": "deeplift"}), "application/json", "explain"
    )
    assert np.asarray(tensor.json()["explanations"][0]["attribution"]).shape == (64, 64)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b'{"instances": [[1, 2], [3]]}', "application/json", 400),
        (b'{"instances": [[1, 2]]}', "application/json", 400),
        (b"no dicom", "application/dicom", 422),
        (b"", "application/dicom", 422),
        (b"--x\r\nhalf a part", "multipart/related; boundary=x", 415),
        (b"no boundary", "multipart/related", 415),
    ],
)
def test_what_is_no_request_is_told_why(body, kind, status, server):
    response = _predict(server, body, kind)
    assert response.status_code == status
    assert response.json()["error"].startswith("serve: ")
    assert _tensor(server, prepared(0)).status_code == 200


def test_nan_pixels_and_other_shapes_are_refused(server):
    assert _tensor(server, np.ones((1, 1, 32, 32), np.float32)).status_code == 400
    with pytest.raises(grpc.RpcError) as caught:
        _stub(server.grpc_port).ModelInfer(_request(np.full((1, 1, 64, 64), np.nan, np.float32)))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_models_cannot_be_unloaded_from_outside(server):
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages

    response = requests.post(f"{server.url}/v2/repository/models/model/unload", timeout=30)
    assert response.status_code == 404
    with pytest.raises(grpc.RpcError) as caught:
        _stub(server.grpc_port).RepositoryModelUnload(messages.RepositoryModelUnloadRequest(model_name="model"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert _tensor(server, prepared(0)).status_code == 200


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/studies/1.2",
        "http://127.0.0.1:1/studies/1.2",
        "file:///etc/passwd",
        "http://user:secret@127.0.0.1/studies/1.2",
        "gopher://127.0.0.1/studies/1.2",
    ],
)
def test_foreign_origins_are_never_asked(url, server):
    response = _predict(server, json.dumps({"url": url}), "application/json")
    assert response.status_code in {400, 403}
    assert "secret" not in response.text
    stored = _predict(server, json.dumps({"url": "", "store": url}), "application/json")
    assert stored.status_code in {400, 403}


def test_web_pages_are_kept_out(server):
    page = _tensor(server, prepared(0), Origin="https://evil.example")
    rebound = _tensor(server, prepared(0), Host="evil.example")
    assert (page.status_code, rebound.status_code) == (403, 403)


def test_paths_lead_nowhere_else(server):
    for path in (
        "/v1/models/..%2f..%2fetc%2fpasswd:predict",
        "/v1/models/other:predict",
        "/v2/models/model/../../x",
        "/docs",
        "/openapi.json",
    ):
        response = requests.post(server.url + path, data=b"{}", timeout=30)
        assert response.status_code in {404, 405}, path


def test_compressed_bodies_are_refused(server):
    response = _predict(server, b"x", "application/json", **{"Content-Encoding": "gzip"})
    assert response.status_code == 415


def test_a_body_of_ten_gigabytes_is_refused_before_it_is_sent(server):
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=30) as connection:
        head = "POST /v1/models/model:predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/dicom\r\n"
        connection.sendall(f"{head}Content-Length: {10 << 30}\r\n\r\n".encode())
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 413")


def test_deadlines_are_kept(server):
    late = _tensor(server, prepared(0), **{"X-Request-Timeout-S": "0.000001"})
    assert late.status_code == 504
    with pytest.raises(grpc.RpcError) as caught:
        _stub(server.grpc_port).ModelInfer(_request(prepared(0)), timeout=0.0001)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def _n_batches(server):
    text = requests.get(f"{server.url}/metrics", timeout=30).text
    line = next(line for line in text.splitlines() if line.startswith("claimed_med_batch_images_count"))
    return float(line.split()[1])


def test_batches_change_probabilities_by_next_to_nothing(model, overridden):
    running, _ = overridden
    batch = [prepared(number) for number in range(24)]
    alone = cm.ModelBundle(model[0]).load()
    before = _n_batches(running)
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda image: _outputs(_tensor(running, image))["probabilities"], batch))
    expected = [alone.probabilities(image)[0] for image in batch]
    assert float(np.abs(np.asarray(found) - np.asarray(expected)).max()) < 1e-5
    assert _n_batches(running) - before <= 24


def test_load_beyond_capacity_is_answered_and_a_stop_loses_nothing(model, tmp_path):
    bundle, decision = model
    words = ("--decision", str(decision), "--max-waiting", "4", "--max-batch", "1", "--dicom-workers", "1")
    statuses, lock = [], threading.Lock()
    image = prepared(0)

    def ask():
        session = requests.Session()
        while not statuses or 0 not in statuses:
            try:
                found = session.post(
                    f"{running.url}/v1/models/model:predict", json={"instances": image.tolist()}, timeout=60
                ).status_code
            except requests.ConnectionError:
                found = 0  # the server has gone
            with lock:
                statuses.append(found)

    with serving(bundle, tmp_path / "s", *words) as running:
        threads = [threading.Thread(target=ask) for _ in range(16)]
        for one in threads:
            one.start()
        wait_for(lambda: {200, 429} <= set(statuses))
        code = running.stop()  # in the middle of it
        for one in threads:
            one.join()
        answered = [one for one in running.lines("request") if one["status"] == 200]
        (stopped,) = running.lines("stop")
    log = PredictionLog(str(running.log))
    recorded = len(log.read())
    log.close()
    assert code == 0
    assert stopped["unfinished"] == 0
    assert set(statuses) <= {200, 429, 503, 0}
    assert {200, 429} <= set(statuses)
    assert statuses.count(200) == len(answered) == recorded


def test_a_server_that_stops_refuses_new_calls_by_name_while_it_finishes_an_accepted_one(model, tmp_path):
    bundle, decision = model
    body = json.dumps({"instances": prepared(0).tolist()}).encode()
    head = f"POST /v1/models/model:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    with serving(bundle, tmp_path / "s", "--decision", str(decision), "--grace-s", "60") as running:
        with socket.create_connection(("127.0.0.1", running.http_port), timeout=60) as slow:
            slow.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body[:100])
            inside = f"{running.url}/metrics"
            wait_for(lambda: "claimed_med_in_flight 1.0" in requests.get(inside, timeout=10).text)
            running.process.terminate()
            wait_for(lambda: requests.get(f"{running.url}/v2/health/ready", timeout=10).status_code != 200)
            with pytest.raises(grpc.RpcError) as refusal:
                _stub(running.grpc_port).ModelInfer(_request(prepared(1)))
            slow.sendall(body[100:])
            answer = slow.recv(1 << 16)
        code = running.process.wait(60)
    assert refusal.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "the server stops" in refusal.value.details()
    assert answer.startswith(b"HTTP/1.1 200")
    assert code == 0
    assert {(one["route"], one["status"]) for one in running.lines("request")} == {("v1", 200), ("grpc", 503)}


def test_a_canary_answers_its_part_and_the_same_input_always_alike(swappable):
    running, *_ = swappable
    first = [_tensor(running, prepared(number)).json()["parameters"]["variant"] for number in range(12)]
    again = [_tensor(running, prepared(number)).json()["parameters"]["variant"] for number in range(12)]
    assert set(first) == {"stable", "canary"}
    assert first == again


def test_bundles_are_swapped_while_requests_go_on(model, other, swappable):
    running, link, decision = swappable
    before, after = folder_digest(model[0]), folder_digest(other[0])
    answers = ((prepared(number), _tensor(running, prepared(number)).json()["parameters"]) for number in range(32))
    image, told = next(one for one in answers if one[1]["variant"] == "stable")
    assert told["model_digest"] == before
    link.unlink()
    link.symlink_to(other[0])
    swapped = running.hang_up()
    assert swapped["outcome"] == "refused"  # the decision blesses the first one
    assert _tensor(running, image).json()["parameters"]["model_digest"] == before
    decision.unlink()
    decision.symlink_to(other[1])
    assert running.hang_up()["outcome"] == "done"
    answer = _tensor(running, image).json()
    assert answer["parameters"]["model_digest"] == after
    expected = cm.ModelBundle(other[0]).load().probabilities(image)[0]
    assert answer["outputs"][0]["data"] == expected.tolist()


def test_only_what_is_blessed_is_served(model, other, tmp_path):
    bundle, decision = model
    altered = tmp_path / "altered"
    shutil.copytree(bundle, altered)
    content = (altered / "bundle.json").read_text()
    (altered / "bundle.json").write_text(content.replace('"threshold": 0.5', '"threshold": 0.1'))
    refusal = decide(bundle, tmp_path / "refusal", verdict="refused")
    for place, words in (
        (bundle, ()),
        (bundle, ("--decision", str(refusal))),
        (bundle, ("--decision", str(other[1]))),
        (altered, ("--decision", str(decision))),
        (bundle, ("--override", "night shift", "--expect", folder_digest(other[0]))),
    ):
        code, text = refused(place, tmp_path / "s", *words)
        assert code == 6, text
        assert "Traceback" not in text


def test_an_override_lands_in_lineage_record_and_audit(overridden, images):
    running, _ = overridden
    told, _ = _parts(_predict(running, images[0].read_bytes(), **{"X-Request-Id": NAMED}))
    (start,) = running.lines("start")
    (record,) = told["lineage"].values()
    log = PredictionLog(str(running.log))
    (row,) = [one for one in log.read() if one.request_id == NAMED]
    log.close()
    assert record["units"][0]["statements"]["blessing_override"] == WHY
    assert start["models"][0]["blessing_override"] == row.override == WHY
    tensor = _tensor(running, prepared(0)).json()["parameters"]
    asked = json.dumps({"instances": prepared(0).tolist()})
    explained = _predict(running, asked, "application/json", "explain")
    line = _line(running, explained.headers["X-Request-Id"])
    for answer in (told["predictions"][0], tensor, explained.json(), line):
        assert answer["blessing_override"] == WHY


def test_signatures_count_where_the_secret_is_set(model, tmp_path, monkeypatch):
    monkeypatch.setenv("CLAIMED_MED_SECRET", "another secret of this project")
    code, text = refused(model[0], tmp_path / "s", "--decision", str(model[1]))
    assert code == 6
    assert "not signed with the secret" in text


def test_a_corrupt_bundle_is_not_served_and_does_not_stop_a_server(overridden, tmp_path):
    running, bundle = overridden
    (bundle / "models" / "model.safetensors").write_bytes(b"x" * 100)
    weights = running.hang_up()
    (bundle / "bundle.json").write_text("{")
    description = running.hang_up()
    shutil.rmtree(bundle)
    nothing = running.hang_up()
    assert _tensor(running, prepared(0)).status_code == 200
    assert {one["outcome"] for one in (weights, description, nothing)} == {"refused"}
    assert "weights cannot be read" in weights["text"]
    code, text = refused(bundle, tmp_path / "t", "--override", WHY)
    assert code == 3
    assert "Traceback" not in text


def test_tokens_are_asked_for(model, tmp_path):
    (tmp_path / "tokens").write_text(f"pacs:{TOKEN}\n")
    words = ("--decision", str(model[1]), "--token-file", str(tmp_path / "tokens"))
    with serving(model[0], tmp_path / "s", *words) as running:
        none = _tensor(running, prepared(0))
        wrong = _tensor(running, prepared(0), Authorization="Bearer wrong")
        right = _tensor(running, prepared(0), Authorization=f"Bearer {TOKEN}")
        metrics = requests.get(f"{running.url}/metrics", timeout=30)
        stub = _stub(running.grpc_port)
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(_request(prepared(0)))
        answer = stub.ModelInfer(_request(prepared(0)), metadata=(("authorization", f"Bearer {TOKEN}"),))
        callers = {one["caller"] for one in running.lines("request") if one["status"] == 200}
    assert [one.status_code for one in (none, wrong, right, metrics)] == [401, 401, 200, 401]
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert answer.outputs
    assert callers == {"pacs"}
    assert TOKEN not in running.audit.read_text() + running.output.read_text()


@pytest.fixture(scope="module")
def segmentation(tmp_path_factory):
    """A server of a segmenter, and its bundle."""
    folder = tmp_path_factory.mktemp("segmentation")
    bundle = segmenter(folder / "bundle")
    decision = decide(bundle, folder / "decision")
    with serving(bundle, folder / "s", "--decision", str(decision)) as running:
        yield running, bundle


def _labels(server, pixels, spacing):
    from kserve.protocol.infer_type import InferInput, InferRequest, InferResponse

    told = {"spacing_mm": ",".join(map(str, spacing))}
    one = InferInput("pixels", list(pixels.shape), "FP32", parameters=told)
    one.set_data_from_numpy(np.asarray(pixels, dtype=np.float32))
    request = InferRequest("model", [one]).to_grpc()
    (labels,) = InferResponse.from_grpc(_stub(server.grpc_port).ModelInfer(request, timeout=300)).outputs
    return labels.as_numpy()


def test_a_segmentation_is_the_component_to_the_byte_by_every_face(segmentation, tmp_path):
    running, bundle = segmentation
    phantoms.write("chest_ct", tmp_path / "ct")
    expected = cm.segment_volumes(cm.DicomSeries(tmp_path / "ct"), cm.ModelBundle(bundle)).save(tmp_path / "expected")
    volume = cm.DicomSeries(tmp_path / "ct").load().volume()
    uploads = [("file", path.read_bytes()) for path in sorted((tmp_path / "ct").rglob("*.dcm"))]
    told, (found,) = _parts(requests.post(f"{running.url}/v1/models/model:predict", files=uploads, timeout=300))
    labels = _labels(running, volume.array, volume.spacing)
    assert found == (expected / "segmentation.dcm").read_bytes()
    voxels = float((labels > 0).sum()) * float(np.prod(volume.spacing)) / 1000
    assert told["predictions"][0]["probabilities"]["lung"] == pytest.approx(voxels)


def test_segmentations_at_once_with_batching_on_are_those_of_the_bundle(segmentation):
    """Dice of at least 0.9999 is asked for; volumes are never batched, so it is 1: the labels are equal."""
    running, bundle = segmentation
    generator = np.random.default_rng(0)
    volumes = [generator.normal(-300, 400, (20, 40, 36)).astype(np.float32) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda one: _labels(running, one, (2.0, 1.0, 1.0)), volumes))
    held = cm.ModelBundle(bundle).load()
    expected = [held.label_voxels(one, (2.0, 1.0, 1.0)) for one in volumes]
    dice = [
        2 * np.sum((a > 0) & (b > 0)) / np.sum((a > 0).astype(int) + (b > 0))
        for a, b in zip(found, expected, strict=True)
    ]
    assert 0 < float(np.mean([one.mean() for one in expected])) < 1  # something is found, and not everywhere
    assert min(dice) >= 0.9999
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


def test_other_addresses_need_proof(model, tmp_path):
    (tmp_path / "tokens").write_text(f"pacs:{TOKEN}\n")
    for words in (("--host", "0.0.0.0"), ("--host", "0.0.0.0", "--token-file", str(tmp_path / "tokens"))):  # noqa: S104 - refused
        code, text = refused(model[0], tmp_path / "s", "--decision", str(model[1]), *words)
        assert code == 2
        assert "serve:" in text


def test_client_certificates_are_asked_for_and_expire(model, tmp_path):
    authority = trustme.CA()
    _write(authority, authority.issue_cert("127.0.0.1"), tmp_path / "server")
    _write(authority, authority.issue_cert("client"), tmp_path / "good")
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    _write(
        authority, authority.issue_cert("client", not_before=past, not_after=past.replace(year=2021)), tmp_path / "old"
    )
    _write(authority, trustme.CA().issue_cert("client"), tmp_path / "foreign")
    words = (
        "--tls-cert",
        str(tmp_path / "server.crt"),
        "--tls-key",
        str(tmp_path / "server.key"),
        "--tls-ca",
        str(tmp_path / "server.ca"),
    )
    with serving(model[0], tmp_path / "s", "--decision", str(model[1]), *words, scheme="https") as running:
        address = f"https://127.0.0.1:{running.http_port}/v2/health/ready"
        ca = str(tmp_path / "server.ca")
        good = requests.get(
            address, verify=ca, cert=(str(tmp_path / "good.crt"), str(tmp_path / "good.key")), timeout=30
        )
        for name in ("old", "foreign", ""):
            pair = (str(tmp_path / f"{name}.crt"), str(tmp_path / f"{name}.key")) if name else None
            with pytest.raises((requests.exceptions.SSLError, requests.ConnectionError)):
                requests.get(address, verify=ca, cert=pair, timeout=30)
        for name, answers in (("good", True), ("old", False)):
            pair = [(tmp_path / f"{name}.{end}").read_bytes() for end in ("key", "crt")]
            credentials = grpc.ssl_channel_credentials((tmp_path / "server.ca").read_bytes(), *pair)
            assert _answers(running.grpc_port, credentials) is answers
        wanted = f"certificate-{_fingerprint(tmp_path / 'good.crt')}"
        _predict_as(running, "good", tmp_path)
        wait_for(
            lambda: {"grpc", "v1"} <= {one["route"] for one in running.lines("request")}
        )  # written after the answer
        callers = {one["route"]: one["caller"] for one in running.lines("request") if one["status"] == 200}
        assert callers == {"grpc": wanted, "v1": wanted}
        assert "client" not in running.audit.read_text()
    assert good.status_code == 200
    expired = ("--tls-cert", str(tmp_path / "old.crt"), "--tls-key", str(tmp_path / "old.key"))
    code, text = refused(model[0], tmp_path / "t", "--decision", str(model[1]), *expired)
    assert code == 3
    assert "expired" in text


def _fingerprint(path):
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256

    return x509.load_pem_x509_certificate(path.read_bytes()).fingerprint(SHA256()).hex()[:16]


def _predict_as(running, name, folder):
    address = f"https://127.0.0.1:{running.http_port}/v1/models/model:predict"
    pair = (str(folder / f"{name}.crt"), str(folder / f"{name}.key"))
    body = {"instances": prepared(0).tolist()}
    answer = requests.post(address, json=body, verify=str(folder / "server.ca"), cert=pair, timeout=60)
    assert answer.status_code == 200


def _answers(port, credentials):
    try:
        _stub(port, credentials).ModelInfer(_request(prepared(0)), timeout=120)
    except grpc.RpcError:
        return False
    return True


def _write(authority, issued, place):
    authority.cert_pem.write_to_path(place.with_suffix(".ca"))
    issued.private_key_pem.write_to_path(place.with_suffix(".key"))
    issued.cert_chain_pems[0].write_to_path(place.with_suffix(".crt"))
    ssl.create_default_context().load_cert_chain(place.with_suffix(".crt"), place.with_suffix(".key"))
