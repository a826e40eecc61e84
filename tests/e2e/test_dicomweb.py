"""The DICOMweb client against a real Orthanc, and against servers that misbehave."""

from __future__ import annotations

import http.server
import json
import threading

import pytest
from pydicom import dcmread

from claimed_med.cli import main
from claimed_med.dicom import web
from claimed_med.dicom.web import Archive, parse_query
from claimed_med.errors import ContractError, InputError
from claimed_med.testing import orthanc, phantoms


@pytest.fixture(scope="module")
def chest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chest")
    phantoms.write("chest_ct", folder)
    return folder


@pytest.fixture
def connect():
    archives = []

    def made(url):
        archives.append(Archive(url))
        return archives[-1]

    yield made
    for one in archives:
        one.close()


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(web, "LONGEST_WAIT_S", 0.02)


def study_of(folder):
    return str(dcmread(next(folder.rglob("*.dcm")), stop_before_pixels=True).StudyInstanceUID)


def test_a_study_comes_back_as_it_was_stored(archive_server, chest, tmp_path, connect):
    archive = connect(archive_server.dicomweb_url)
    files = sorted(chest.rglob("*.dcm"))
    assert {one.status for one in archive.store(files)} == {"stored"}
    found = [one for one in archive.query(parse_query("ModalitiesInStudy=CT")) if one.study_uid == study_of(chest)]
    assert [one.n_instances for one in found] == [len(files)]
    back = {path.stem: dcmread(path) for path in archive.retrieve(study_of(chest), tmp_path)}
    for path in files:
        sent = dcmread(path)
        assert back[sent.SOPInstanceUID] == sent
        assert back[sent.SOPInstanceUID].PixelData == sent.PixelData


def test_what_lies_there_is_not_fetched_again(archive_server, chest, tmp_path, monkeypatch, connect):
    archive = connect(archive_server.dicomweb_url)
    archive.store(sorted(chest.rglob("*.dcm")))
    archive.retrieve(study_of(chest), tmp_path)
    gone = sorted(tmp_path.glob("*.dcm"))[3]
    gone.unlink()
    asked = []
    real = archive._retrieved
    monkeypatch.setattr(archive, "_retrieved", lambda url, folder: (asked.append(url), real(url, folder)))
    archive.retrieve(study_of(chest), tmp_path)
    assert gone.is_file()
    assert [url.rpartition("/")[2] for url in asked] == [gone.stem]


@pytest.mark.parametrize("kind", ["segmentation", "measurements", "capture"])
def test_objects_of_ours_are_accepted(archive_server, chest, tmp_path, kind, connect):
    assert main(["run", "segment-body", "--series", str(chest), "--out", str(tmp_path / "a")]) == 0
    segmentation = str(tmp_path / "a" / "segmentation")
    words = {
        "segmentation": None,
        "measurements": ["measure-segments", "measurements"],
        "capture": ["render-overview", "capture"],
    }[kind]
    place = tmp_path / "a" / "segmentation"
    if words:
        ports = ["--series", str(chest), "--segmentation", segmentation]
        assert main(["run", words[0], *ports, "--out", str(tmp_path / "b")]) == 0
        place = tmp_path / "b" / words[1]
    results = connect(archive_server.dicomweb_url).store(sorted(place.rglob("*.dcm")))
    assert [one.status for one in results] == ["stored"]


def test_an_archive_that_went_away_is_a_clear_error(chest, tmp_path, connect):
    archive = connect(f"http://127.0.0.1:{orthanc.free_port()}/dicom-web")
    with pytest.raises(InputError, match="does not answer"):
        archive.query({})
    results = archive.store(sorted(chest.rglob("*.dcm"))[:3])
    assert {one.status for one in results} == {"failed"}
    words = ["run", "store-objects", "--objects", str(chest), "--url", archive.url, "--out", str(tmp_path / "out")]
    assert main(words) == 7
    assert not (tmp_path / "out" / "receipt").exists()


class _Answers(http.server.BaseHTTPRequestHandler):
    """Answers each request with the next of a list: (status, headers, body)."""

    def do_GET(self):
        self._answer()

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer()

    def _answer(self):
        self.server.asked.append((self.command, self.path, dict(self.headers)))
        answers = self.server.answers
        status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def misbehaving():
    servers = []

    def start(*answers):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
        server.answers, server.asked = list(answers), []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server, f"http://127.0.0.1:{server.server_port}/dicom-web"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


JSON = {"Content-Type": "application/dicom+json"}


def _listed(*pairs):
    return json.dumps(
        [{"00080018": {"vr": "UI", "Value": [one]}, "0020000E": {"vr": "UI", "Value": [two]}} for one, two in pairs]
    ).encode()


def test_a_busy_archive_is_asked_again(misbehaving, connect):
    server, url = misbehaving((429, {"Retry-After": "0"}, b""), (503, {}, b""), (200, JSON, b"[]"))
    assert connect(url).query({"Modality": "CT"}) == []
    assert len(server.asked) == 3


def test_garbage_is_no_study(misbehaving, connect):
    _, url = misbehaving((200, JSON, b"<html>"))
    with pytest.raises(InputError, match="not DICOM JSON"):
        connect(url).query({})


def test_no_file_is_written_outside_of_the_folder(misbehaving, tmp_path, connect):
    _, url = misbehaving((200, JSON, _listed(("../../evil", "1.2"))))
    with pytest.raises(InputError, match="no UID"):
        connect(url).retrieve("1.2.3", tmp_path / "in")
    assert not list(tmp_path.rglob("*evil*"))


def test_an_answer_that_ends_too_early_is_an_error_and_leaves_no_half_file(misbehaving, tmp_path, connect):
    cut = b"--b\r\nContent-Type: application/dicom\r\n\r\nhalf an obj"
    answer = {"Content-Type": 'multipart/related; boundary="b"'}
    _, url = misbehaving((200, JSON, _listed(("1.2.3", "1.2"))), (200, answer, cut))
    with pytest.raises(InputError, match="ends in the middle"):
        connect(url).retrieve("1.2.3", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_redirect_to_a_stranger_is_refused(misbehaving, connect):
    other, other_url = misbehaving((200, JSON, b"[]"))
    _, url = misbehaving((302, {"Location": f"{other_url}/studies"}, b""))
    with pytest.raises(InputError, match="another server"):
        connect(url).query({})
    assert not other.asked


def test_refused_access_says_what_to_set(misbehaving, connect):
    _, url = misbehaving((401, {}, b""))
    with pytest.raises(InputError, match="CLAIMED_MED_DICOMWEB_TOKEN"):
        connect(url).query({})


def test_token_goes_with_every_request_and_never_over_plain_http_elsewhere(misbehaving, monkeypatch, tmp_path, connect):
    (tmp_path / "token").write_text("s3cret\n")
    monkeypatch.setenv("CLAIMED_MED_DICOMWEB_TOKEN_FILE", str(tmp_path / "token"))
    server, url = misbehaving((200, JSON, b"[]"))
    connect(url).query({})
    assert server.asked[0][2]["Authorization"] == "Bearer s3cret"
    with pytest.raises(ContractError, match="plain http"):
        Archive("http://pacs.example/dicom-web")


def test_an_object_that_is_refused_is_named_and_the_others_are_stored(misbehaving, chest, connect):
    files = sorted(chest.rglob("*.dcm"))[:2]
    bad, good = (str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in files)
    told = {
        "00081198": {"vr": "SQ", "Value": [_item(bad) | {"00081197": {"vr": "US", "Value": [0xA700]}}]},
        "00081199": {"vr": "SQ", "Value": [_item(good)]},
    }
    _, url = misbehaving((202, JSON, json.dumps(told).encode()))
    assert [(one.status, one.reason) for one in connect(url).store(files)] == [("failed", "0xA700"), ("stored", "")]


def _item(uid):
    return {"00081155": {"vr": "UI", "Value": [uid]}}
