"""The DICOMweb client against servers of this process that misbehave, and its parts alone."""

from __future__ import annotations

import http.server
import json
import logging
import ssl
import threading
import tracemalloc
from collections import Counter
from urllib.parse import parse_qsl, urlsplit

import pytest
import trustme
from pydicom import dcmread

from claimed_med.dicom.web import Archive, Credentials, Patience, from_environment, parse_query, require_all
from claimed_med.dicom.web_auth import basic, bearer, check_address
from claimed_med.dicom.web_multipart import Body, NotMultipart, boundary_of, parts
from claimed_med.dicom.web_search import is_uid
from claimed_med.errors import ContractError, InputError, OutputError
from claimed_med.testing import phantoms

QUICK = Patience(attempts=3, first_s=0.01, longest_s=0.05, connect_s=60, read_s=60)
PLANTED = ("PLANTED", "PatientName", "ZEBEDEE")


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._answer(b"")

    def do_POST(self):
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body):
        url = urlsplit(self.path)
        self.server.asked.append((self.command, url.path))
        self.server.heads.append(dict(self.headers))
        status, headers, content = self.server.answer(self.command, url.path, dict(parse_qsl(url.query)), body)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Connection" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def served():
    """A function that starts a server; what it is given turns (method, path, query, body) into an answer."""
    servers = []

    def start(answer):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        server.answer, server.asked, server.heads = answer, [], []
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return server, Archive(f"http://127.0.0.1:{server.server_port}/dw", Credentials(), patience=QUICK)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def chest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chest")
    phantoms.write("chest_ct", folder)
    return sorted(folder.rglob("*.dcm"))


def multipart(*contents, end=b"\r\n--b--\r\n"):
    whole = b"".join(b"\r\n--b\r\nContent-Type: application/dicom\r\n\r\n" + one for one in contents) + end
    return 200, {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}, whole


def listed(tag, *values):
    return 200, {}, json.dumps([{tag: {"vr": "UI", "Value": [one]}} for one in values]).encode()


class Shelf:
    """Answers like an archive that keeps some files; subclasses misbehave."""

    page = 1000

    def __init__(self, paths=()):
        self.paths = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID): path for path in paths}
        first = dcmread(next(iter(paths)), stop_before_pixels=True) if paths else None
        self.study, self.series = (first.StudyInstanceUID, first.SeriesInstanceUID) if first else ("1.2", "1.3")

    def __call__(self, method, path, query, body):
        kind = "POST" if method == "POST" else path.rpartition("/")[2]
        if kind == "POST":
            return self.post(body)
        if kind == "series":
            return self.paged(listed, "0020000E", [self.series], query)
        if kind == "instances":
            return self.paged(listed, "00080018", sorted(self.paths), query)
        wanted = [kind] if kind in self.paths else sorted(self.paths)
        return multipart(*(self.paths[uid].read_bytes() for uid in wanted))

    def paged(self, make, tag, values, query):
        start = int(query["offset"])
        return make(tag, *values[start : start + min(self.page, int(query["limit"]))])

    def post(self, body):
        raise NotImplementedError


def uids_of(paths):
    return {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID): path for path in paths}


# -- retrieve


def test_files_are_those_of_the_archive_to_the_byte(served, chest, tmp_path):
    _, archive = served(shelf := Shelf(chest))
    for path in archive.retrieve(shelf.study, tmp_path):
        assert path.read_bytes() == shelf.paths[path.stem].read_bytes()
    assert len(list(tmp_path.iterdir())) == len(chest)


def test_an_archive_that_gives_small_pages_loses_no_instance(served, chest, tmp_path):
    shelf = Shelf(chest)
    shelf.page = 5
    _, archive = served(shelf)
    assert len(archive.retrieve(shelf.study, tmp_path)) == len(chest)


def test_only_what_is_missing_or_cut_is_asked_for_again(served, chest, tmp_path):
    server, archive = served(shelf := Shelf(chest))
    first, second, *_ = archive.retrieve(shelf.study, tmp_path)
    first.unlink()
    second.write_bytes(second.read_bytes()[:-100])
    server.asked.clear()
    assert archive.retrieve_study(shelf.study, tmp_path).n_received == 2
    asked = {path.rpartition("/")[2] for _, path in server.asked if "/instances/" in path}
    assert asked == {first.stem, second.stem}
    assert second.read_bytes() == shelf.paths[second.stem].read_bytes()


class BreaksOff(Shelf):
    """Ends every answer with several objects in the middle of the fourth."""

    def __call__(self, method, path, query, body):
        status, headers, content = super().__call__(method, path, query, body)
        if "/instances/" in path or not content.startswith(b"\r\n--b"):
            return status, headers, content
        size = len(content) // len(self.paths)
        return status, headers | {"Connection": "close"}, content[: 3 * size + size // 2]


def test_an_answer_that_breaks_off_is_completed_one_by_one(served, chest, tmp_path):
    server, archive = served(shelf := BreaksOff(chest))
    found = archive.retrieve_study(shelf.study, tmp_path)
    assert (len(found.files), found.n_received) == (len(chest), len(chest))
    asked = Counter(path for _, path in server.asked if "/instances/" in path)
    assert len(asked) == len(chest) - 3
    assert set(asked.values()) == {1}
    assert not list(tmp_path.glob(".partial*"))


class AlwaysBreaksOff(Shelf):
    def __call__(self, method, path, query, body):
        status, headers, content = super().__call__(method, path, query, body)
        return status, headers, content if content.startswith(b"[") else content[:4000]


def test_half_an_object_never_gets_a_name(served, chest, tmp_path):
    _, archive = served(shelf := AlwaysBreaksOff(chest))
    with pytest.raises(InputError, match=r"ends in the middle of an object.*got 3 tries"):
        archive.retrieve(shelf.study, tmp_path)
    assert not list(tmp_path.iterdir())


class Lists(Shelf):
    """Lists one UID that it should not."""

    def __init__(self, paths, uid):
        super().__init__(paths)
        self.uid = uid

    def __call__(self, method, path, query, body):
        if path.endswith("/instances"):
            return self.paged(listed, "00080018", [*sorted(self.paths), self.uid], query)
        return (404, {}, b"") if path.endswith(f"/{self.uid}") else super().__call__(method, path, query, body)


def test_an_instance_that_is_listed_but_not_given_is_an_error(served, chest, tmp_path):
    _, archive = served(shelf := Lists(chest, "1.2.3.4"))
    with pytest.raises(InputError, match="does not have what it lists"):
        archive.retrieve(shelf.study, tmp_path)


@pytest.mark.parametrize("uid", ["../../evil", "..", "1/2", "a.b", "1" * 65, ""])
def test_a_uid_that_is_none_writes_nothing(served, chest, tmp_path, uid):
    _, archive = served(shelf := Lists(chest, uid))
    with pytest.raises(InputError, match="no UID"):
        archive.retrieve(shelf.study, tmp_path / "in")
    assert not list((tmp_path / "in").iterdir())


def test_an_object_whose_own_uid_climbs_is_refused(served, chest, tmp_path):
    uid, path = next(iter(uids_of(chest).items()))
    evil = path.read_bytes().replace(uid.encode(), b"../" * 12 + uid.encode()[36:])
    shelf = Shelf(chest)
    _, archive = served(lambda *asked: multipart(evil) if asked[1].endswith(shelf.series) else shelf(*asked))
    with pytest.raises(InputError, match="no valid SOPInstanceUID"):
        archive.retrieve(shelf.study, tmp_path / "a" / "b")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_object_of_another_study_is_refused(served, chest, tmp_path):
    _, archive = served(Shelf(chest))
    with pytest.raises(InputError, match="another study"):
        archive.retrieve("1.2.3", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        ((200, {"Content-Type": "text/html"}, b"<html>PLANTED</html>"), "something else than DICOM objects"),
        (multipart(b"PLANTED is no DICOM"), "no DICOM object"),
        ((406, {}, b""), "as it keeps them"),
        ((418, {}, b""), "HTTP status 418"),
    ],
)
def test_garbage_is_refused_and_not_repeated_in_the_error(served, chest, tmp_path, answer, match):
    shelf = Shelf(chest)
    _, archive = served(lambda *asked: answer if asked[1].endswith(shelf.series) else shelf(*asked))
    with pytest.raises(InputError, match=match) as caught:
        archive.retrieve(shelf.study, tmp_path)
    assert not any(word in str(caught.value) for word in PLANTED)
    assert not list(tmp_path.iterdir())


def test_an_archive_that_cannot_list_is_asked_for_the_whole_study(served, chest, tmp_path):
    shelf = Shelf(chest)
    _, archive = served(lambda *asked: (501, {}, b"") if asked[1].endswith("/series") else shelf(*asked))
    assert len(archive.retrieve(shelf.study, tmp_path)) == len(chest)


def test_memory_stays_bounded_for_a_large_object(served, tmp_path):
    folder = tmp_path / "large"
    phantoms.write_series(folder, phantoms.chest_values((1, 80, 96)).repeat(60, 1).repeat(60, 2))
    (large,) = folder.iterdir()
    assert large.stat().st_size > 50e6
    shelf = Shelf([large])
    content = shelf("GET", "/x", {}, b"")
    started = []

    def answer(*asked):
        if asked[1].endswith(shelf.series):
            started.append(tracemalloc.get_traced_memory()[0])
            tracemalloc.reset_peak()
            return content
        return shelf(*asked)

    _, archive = served(answer)
    tracemalloc.start()
    try:
        archive.retrieve(shelf.study, tmp_path / "out")
        peak = tracemalloc.get_traced_memory()[1] - started[0]
    finally:
        tracemalloc.stop()
    assert peak < 12e6


# -- query and transport


def test_a_query_gives_uids_and_counts(served):
    row = {
        "0020000D": {"Value": ["1.2.3"]},
        "00201206": {"Value": [2]},
        "00201208": {"Value": ["7"]},
        "00100010": {"Value": [{"Alphabetic": "PLANTED"}]},
    }
    _, archive = served(lambda *asked: (200, {}, json.dumps([row] if asked[2]["offset"] == "0" else []).encode()))
    (study,) = archive.query({"Modality": "CT"})
    assert (study.study_uid, study.n_series, study.n_instances) == ("1.2.3", 2, 7)
    assert "PLANTED" not in repr(study)


def test_most_is_kept_when_the_archive_gives_more(served):
    _, archive = served(lambda *_: listed("0020000D", *(f"1.{n}" for n in range(50))))
    assert len(archive.query({"Modality": "CT"}, most=7)) == 7


def test_a_full_page_that_comes_again_is_an_error_and_no_gap(served):
    _, archive = served(lambda *_: listed("0020000D", *(f"1.{n}" for n in range(1000))))
    with pytest.raises(InputError, match="the same page"):
        archive.query({"Modality": "CT"})


def test_a_busy_archive_is_asked_again(served):
    answers = [(429, {"Retry-After": "0"}, b""), (503, {}, b""), (204, {}, b"")]
    server, archive = served(lambda *_: answers.pop(0))
    assert archive.query({"Modality": "CT"}) == []
    assert len(server.asked) == 3


def test_an_archive_that_stays_busy_or_is_gone_is_a_clear_error(served):
    server, archive = served(lambda *_: (503, {}, b"PLANTED"))
    with pytest.raises(InputError, match=r"HTTP status 503.*got 3 tries"):
        archive.query({"PatientName": "PLANTED"})
    server.shutdown()
    server.server_close()
    with pytest.raises(InputError, match="does not answer") as caught:
        archive.query({"PatientName": "PLANTED"})
    assert not any(word in str(caught.value) for word in (*PLANTED, "127.0.0.1"))


def test_retry_after_is_kept_and_bounded():
    patience = Patience(first_s=0.0, longest_s=30.0)
    assert patience.wait_s(1, 7.0) == 7.0
    assert patience.wait_s(1, 9e9) == 30.0
    assert Patience(first_s=1.0, longest_s=60.0).wait_s(4) >= 4.0


def test_a_redirect_to_another_server_is_refused_before_anything_is_sent_there(served):
    other, _ = served(lambda *_: (200, {}, b"[]"))
    target = f"http://127.0.0.1:{other.server_port}/dw/studies"
    _, archive = served(lambda *_: (302, {"Location": target}, b""))
    with pytest.raises(InputError, match="another server"):
        archive.query({"Modality": "CT"})
    assert other.asked == []


def test_a_redirect_within_the_server_is_followed(served):
    moved = {"Location": "/new/studies?limit=9&offset=0"}
    server, archive = served(lambda *asked: (307, moved, b"") if "/dw/" in asked[1] else (204, {}, b""))
    assert archive.query({"Modality": "CT"}) == []
    assert server.asked[-1] == ("GET", "/new/studies")


def test_no_log_line_holds_the_address_or_the_query(served, caplog):
    server, archive = served(lambda *_: (204, {}, b""))
    with caplog.at_level(logging.DEBUG):
        archive.query({"PatientName": "PLANTED"})
    assert server.asked
    assert "PLANTED" not in caplog.text
    assert "127.0.0.1" not in caplog.text


# -- store


class Takes(Shelf):
    """Keeps what is posted; forgets nothing."""

    def __init__(self, paths):
        super().__init__(paths)
        self.all, self.paths, self.posts = self.paths, {}, []

    def sent(self, body):
        return [uid for uid in self.all if uid.encode() in body]

    def post(self, body):
        uids = self.sent(body)
        self.posts.append(uids)
        return self.take(uids)

    def take(self, uids):
        self.paths |= {uid: self.all[uid] for uid in uids}
        return 200, {}, answer(uids)


def answer(stored, failed=(), code=0xA700):
    def item(uid):
        return {"00081155": {"vr": "UI", "Value": [uid]}}

    bad = [item(uid) | {"00081197": {"vr": "US", "Value": [code]}} for uid in failed]
    return json.dumps({"00081199": {"Value": [item(uid) for uid in stored]}, "00081198": {"Value": bad}}).encode()


def statuses(results):
    return Counter(one.status for one in results)


def test_batches_keep_their_bounds_and_the_bytes(served, chest):
    bodies = []

    class Keeps(Takes):
        def post(self, body):
            bodies.append(body)
            return super().post(body)

    _, archive = served(shelf := Keeps(chest))
    size = chest[0].stat().st_size
    assert statuses(archive.store(chest, batch_size=7)) == {"stored": len(chest)}
    assert max(map(len, shelf.posts)) == 7
    assert all(any(path.read_bytes() in body for body in bodies) for path in chest)
    shelf.paths, shelf.posts = {}, []
    archive.store(chest, batch_bytes=3 * size + 100)
    assert max(map(len, shelf.posts)) == 3


def test_what_is_there_already_is_not_sent(served, chest):
    _, archive = served(shelf := Takes(chest))
    archive.store(chest)
    shelf.posts.clear()
    assert statuses(archive.store(chest)) == {"already stored": len(chest)}
    assert shelf.posts == []


class DropsTheFirst(Takes):
    """Takes half of the first batch and then breaks the connection."""

    def post(self, body):
        if not self.posts:
            uids = self.sent(body)
            self.posts.append(uids)
            self.take(uids[: len(uids) // 2])
            raise ConnectionAbortedError
        return super().post(body)


@pytest.fixture
def quiet_server(monkeypatch):
    monkeypatch.setattr(http.server.ThreadingHTTPServer, "handle_error", lambda *_: None)


@pytest.mark.usefixtures("quiet_server")
def test_after_a_break_only_what_is_not_there_is_sent_again(served, chest):
    _, archive = served(shelf := DropsTheFirst(chest))
    results = archive.store(chest, batch_size=100)
    half = len(chest) // 2
    assert statuses(results) == {"already stored": half, "stored": len(chest) - half}
    assert sorted(shelf.posts[1]) == sorted(set(shelf.all) - set(shelf.posts[0][:half]))


@pytest.mark.parametrize("status", [202, 409])
def test_a_refused_object_has_its_reason_and_the_others_are_stored(served, chest, status):
    bad = min(uids_of(chest))

    class RefusesOne(Takes):
        def take(self, uids):
            super().take([uid for uid in uids if uid != bad])
            return status, {}, answer([uid for uid in uids if uid != bad], [uid for uid in uids if uid == bad])

    _, archive = served(RefusesOne(chest))
    results = archive.store(chest)
    assert [(one.sop_uid, one.reason) for one in results if one.status == "failed"] == [(bad, "0xA700")]
    assert statuses(results)["stored"] == len(chest) - 1
    with pytest.raises(OutputError, match=rf"1 of {len(chest)} objects were not stored; got 0xA700"):
        require_all(results)


@pytest.mark.parametrize("status", [400, 413, 500])
def test_one_object_that_spoils_a_batch_does_not_keep_the_others_out(served, chest, status):
    bad = min(uids_of(chest))

    class Spoiled(Takes):
        def take(self, uids):
            return (status, {}, b"") if bad in uids else super().take(uids)

    _, archive = served(Spoiled(chest))
    results = archive.store(chest, batch_size=16)
    assert [one.sop_uid for one in results if one.status == "failed"] == [bad]
    assert statuses(results)["stored"] == len(chest) - 1


def test_an_answer_in_another_form_is_believed_only_when_the_archive_has_the_objects(served, chest):
    class Forgets(Takes):
        def take(self, uids):
            super().take(uids[:3] if not self.paths else [])
            return 200, {}, b"<xml/>"

    _, archive = served(Forgets(chest[:6]))
    assert statuses(archive.store(chest[:6])) == {"stored": 3, "failed": 3}


def test_an_archive_that_is_gone_fails_every_object_once(served, chest):
    server, archive = served(Takes(chest))
    server.shutdown()
    server.server_close()
    results = archive.store(chest)
    assert statuses(results) == {"failed": len(chest)}
    assert all("does not answer" in one.reason for one in results)


def test_duplicate_codes_of_servers_mean_already_stored(served, chest):
    class Has(Takes):
        def take(self, uids):
            return 409, {}, answer([], uids, 0xB00E)

    _, archive = served(Has(chest[:2]))
    assert statuses(archive.store(chest[:2])) == {"already stored": 2}


def test_junk_is_skipped_and_damage_fails_without_names(served, chest, tmp_path):
    junk, damaged = tmp_path / "PLANTED.txt", tmp_path / "PLANTED.dcm"
    junk.write_text("PLANTED")
    damaged.write_bytes(chest[0].read_bytes()[:140])
    (tmp_path / "PLANTED.dir").mkdir()
    _, archive = served(Takes(chest))
    results = archive.store([junk, damaged, tmp_path / "PLANTED.dir", chest[0]])
    assert [one.status for one in results] == ["skipped", "failed", "failed", "stored"]
    assert not any("PLANTED" in repr(one) for one in results)


def test_two_objects_of_one_uid_do_not_pass_for_one(served, chest, tmp_path):
    other = dcmread(chest[0])
    other.PatientComments = "another"
    other.save_as(tmp_path / "other.dcm")
    _, archive = served(shelf := Takes(chest[:1]))
    results = archive.store([chest[0], tmp_path / "other.dcm", chest[0]])
    assert [(one.status, one.reason) for one in results] == [("stored", ""), ("failed", "0x0111")]
    assert len(shelf.posts) == 1


# -- credentials and addresses


def test_a_token_from_a_file_goes_with_every_request(served, tmp_path):
    (tmp_path / "token").write_text("s3cret\n")
    who = from_environment({"CLAIMED_MED_DICOMWEB_TOKEN_FILE": str(tmp_path / "token")})
    server, _ = served(lambda *_: (204, {}, b""))
    Archive(f"http://127.0.0.1:{server.server_port}/dw", who, patience=QUICK).query({"Modality": "CT"})
    assert server.heads[0]["Authorization"] == "Bearer s3cret"
    assert "s3cret" not in repr(who)


def test_a_name_and_password_become_basic_authentication():
    given = {"CLAIMED_MED_DICOMWEB_USER": "anna", "CLAIMED_MED_DICOMWEB_PASSWORD": "pässword"}
    assert from_environment(given) == basic("anna", "pässword")


@pytest.mark.parametrize(
    "given",
    [
        {"TOKEN": "a", "USER": "b", "PASSWORD": "c"},
        {"USER": "b"},
        {"PASSWORD": "c"},
        {"KEY": "/etc/hostname"},
        {"CERT": "/no/such/file"},
        {"TOKEN_FILE": "/no/such/file"},
        {"TOKEN": "a\r\nEvil: yes"},
    ],
)
def test_credentials_that_do_not_go_together_are_refused(given):
    with pytest.raises(ContractError) as caught:
        from_environment({f"CLAIMED_MED_DICOMWEB_{name}": value for name, value in given.items()})
    assert "Evil" not in str(caught.value)


@pytest.mark.parametrize("host", ["pacs.example", "localhost.evil.example", "10.0.0.1", "127.0.0.1.evil.example"])
def test_credentials_never_go_over_plain_http_to_another_machine(host):
    with pytest.raises(ContractError, match="plain http"):
        check_address(f"http://{host}/dw", bearer("s3cret"))
    check_address(f"https://{host}/dw", bearer("s3cret"))
    check_address("http://127.0.0.1:8042/dw", bearer("s3cret"))
    check_address(f"http://{host}/dw", Credentials())


@pytest.mark.parametrize(
    "url",
    ["", "pacs", "ftp://pacs", "http://", "https://anna:geheim@pacs/dw", "https://pacs/dw?token=geheim", "http://h:x/"],
)
def test_addresses_that_cannot_be_used_are_refused_and_not_repeated(url):
    with pytest.raises(ContractError) as caught:
        Archive(url, Credentials())
    assert "geheim" not in str(caught.value)


def test_a_password_in_a_netrc_is_not_sent(served, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login anna password geheim\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server, archive = served(lambda *_: (204, {}, b""))
    archive.query({"Modality": "CT"})
    assert "Authorization" not in server.heads[0]


# -- parts


@pytest.mark.parametrize("text", ["", "PatientName", "Modality=", "Nonsense=1", "Modality=CT&Modality=MR", "limit=5"])
def test_queries_that_cannot_be_meant_are_refused(text):
    with pytest.raises(ContractError):
        parse_query(text)


def test_a_query_is_read_as_it_is_written():
    assert parse_query("ModalitiesInStudy=CT&00080020=2020-&PatientName=A%5EB") == {
        "ModalitiesInStudy": "CT",
        "00080020": "2020-",
        "PatientName": "A^B",
    }


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_parts_are_found_however_the_bytes_arrive(size):
    contents = [b"one\r\n--bo", b"", b"\r\n\r\n--\r\n", bytes(range(256)) * 3]
    whole = b"preamble" + b"".join(b"\r\n--bound\r\nA: b\r\n\r\n" + one for one in contents) + b"\r\n--bound--"
    chunks = [whole[at : at + size] for at in range(0, len(whole), size)]
    assert [b"".join(part) for part in parts(chunks, b"bound")] == contents
    with pytest.raises(NotMultipart):
        [b"".join(part) for part in parts([whole[:-10]], b"bound")]


def test_a_part_that_is_left_unread_is_passed_over():
    whole = b"--b\r\n\r\nfirst\r\n--b\r\n\r\nsecond\r\n--b--"
    assert len(list(parts([whole], b"b"))) == 2


@pytest.mark.parametrize("text", ["", "text/html; boundary=b", "multipart/related", "multipart/related; boundary="])
def test_a_content_type_without_boundary_is_no_multipart(text):
    with pytest.raises(NotMultipart):
        boundary_of(text)


def test_the_length_of_a_body_is_what_it_yields(chest):
    body = Body(chest[:3])
    assert len(b"".join(body)) == len(body)
    assert b"".join(body) == b"".join(body)


@pytest.mark.parametrize(
    ("text", "good"), [("1.2.840", True), ("1..2", False), ("1.2.", False), (None, False), (5, False)]
)
def test_uids_are_digits_and_single_dots(text, good):
    assert is_uid(text) == good


# TLS


@pytest.fixture
def guarded(tmp_path):
    """The address of an https server that wants a client certificate, and the folder with all certificates."""
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    stranger.cert_pem.write_to_path(tmp_path / "other.pem")
    for name, ca, host in (("server", authority, "127.0.0.1"), ("client", authority, "us"), ("thief", stranger, "us")):
        ca.issue_cert(host).private_key_and_cert_chain_pem.write_to_path(tmp_path / f"{name}.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    context.load_verify_locations(tmp_path / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.handle_error = lambda *_: None  # broken handshakes are what is tested
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.answer = lambda *_: listed("0020000D", "1.2.3")
    server.asked, server.heads = [], []
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}/dw", tmp_path, server
    server.shutdown()
    server.server_close()


def _with(folder, certificate, authority):
    names = {"CERT": certificate, "CA": authority}
    return from_environment({f"CLAIMED_MED_DICOMWEB_{key}": str(folder / name) for key, name in names.items() if name})


def test_the_archive_sees_our_certificate_and_we_check_its_own(guarded):
    url, folder, server = guarded
    with Archive(url, _with(folder, "client.pem", "ca.pem"), patience=QUICK) as archive:
        assert [one.study_uid for one in archive.query({})] == ["1.2.3"]
    n_asked = len(server.asked)
    for certificate, authority in (("", "ca.pem"), ("thief.pem", "ca.pem"), ("client.pem", "other.pem")):
        with Archive(url, _with(folder, certificate, authority), patience=QUICK) as archive, pytest.raises(InputError):
            list(archive.query({}))
    assert len(server.asked) == n_asked
