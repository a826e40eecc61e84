from __future__ import annotations

import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
from moto.server import ThreadedMotoServer

import claimed_med as cm
from claimed_med import remote
from claimed_med.errors import InputError
from claimed_med.run import main
from claimed_med.testing import phantoms

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def collection(tmp_path):
    folder = tmp_path / "held"
    folder.mkdir()
    return phantoms.write("head_mr", folder)


@pytest.fixture
def bucket(collection, monkeypatch):
    """A real S3 protocol on the loopback, with the head MR in it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }.items():
        monkeypatch.setenv(name, value)
    remote.local_copy.cache_clear()
    client = boto3.client("s3")
    client.create_bucket(Bucket="clinic")
    for number, path in enumerate(sorted(collection.rglob("*.dcm"))):
        client.upload_file(str(path), "clinic", f"studies/{number}")
    yield "s3://clinic/studies"
    server.stop()


def test_objects_of_a_bucket_are_those_of_the_folder(bucket, collection, tmp_path):
    assert main(["load-objects", "--location", bucket, "--out", str(tmp_path / "s3")]) == 0
    assert main(["load-objects", "--location", str(collection), "--out", str(tmp_path / "disk")]) == 0
    one, other = (
        sorted(path.name for path in (tmp_path / name / "collection").rglob("*.dcm")) for name in ("s3", "disk")
    )
    assert one == other != []
    recorded = (tmp_path / "s3" / "collection" / "lineage.json").read_text()
    assert "clinic" not in recorded
    assert "test-secret" not in recorded


def test_an_object_comes_over_http(collection, tmp_path):
    path = min(collection.rglob("*.dcm"))
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=path.parent)) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        taken = cm.load_objects(location=f"http://127.0.0.1:{running.server_port}/{path.name}")
        running.shutdown()
    assert len(taken.collection.paths()) == 1


def test_nothing_of_the_address_is_in_the_error():
    with pytest.raises(InputError) as caught:
        remote.local_copy("http://127.0.0.1:9/MEIER^ANNA")
    assert "MEIER" not in str(caught.value)


def test_an_unknown_kind_of_address_is_refused():
    with pytest.raises(InputError, match="not known"):
        remote.local_copy("gopher://somewhere/x")
