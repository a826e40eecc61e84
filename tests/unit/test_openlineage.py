"""Events of runs: valid to the letter, delivered to a file or a collector, never in the way of a run."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jsonschema
import pytest

from claimed_med import openlineage, run
from claimed_med.lineage import read
from claimed_med.testing import phantoms


@pytest.fixture
def events(tmp_path, monkeypatch):
    """A function that reads the events of the file."""
    path = tmp_path / "events.jsonl"
    monkeypatch.setenv("CLAIMED_MED_EVENTS", str(path))
    monkeypatch.setattr(openlineage, "_failed", threading.Event())
    monkeypatch.setattr(openlineage, "_TIMEOUT_S", 60.0)  # the collector runs in this process
    return lambda: [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


@pytest.fixture(scope="session")
def valid(data):
    """A function that checks an event against the schema."""
    schema = json.loads((data.parent / "specs" / "openlineage-2-0-2.schema.json").read_text())
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate


@contextlib.contextmanager
def collector(status=200):
    """A collector: its URL, and the list of what it got."""
    got = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, self.headers.get("Authorization"), json.loads(body)))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def copied(table, tmp_path, *words):
    return run.main(["copy-table", "--table", str(table), "--out", str(tmp_path / "out"), *words])


def test_a_run_tells_when_it_starts_and_how_it_ended(parts, table, tmp_path, events, valid):
    assert copied(table, tmp_path) == 0
    start, end = events()
    for one in (start, end):
        valid(one)
    assert [start["eventType"], end["eventType"]] == ["START", "COMPLETE"]
    assert start["run"]["runId"] == end["run"]["runId"]
    record = next(filter(None, map(read, (tmp_path / "out").iterdir())))
    assert [one["name"] for one in end["outputs"]] == [f"sha256:{record.payload}"]
    assert [one["name"] for one in end["inputs"]] == [f"sha256:{record.units[0].inputs['table']['digest']}"]
    assert end["run"]["facets"]["claimed_med_run"]["settings"] == record.settings
    assert end["outputs"][0]["facets"]["claimed_med"]["record"] == record.digest()


def test_a_run_that_fails_is_told_without_foreign_words(parts, tables, tmp_path, events, valid):
    words = ["count-rows", "--table", str(tables), "--out", str(tmp_path / "out"), "--max-quarantined", "0"]
    assert run.main([*words, "--crash-rows", "3"]) != 0
    last = events()[-1]
    valid(last)
    assert last["eventType"] == "FAIL"
    assert "DOE" not in json.dumps(events())
    assert run.main(["copy-table", "--table", str(tmp_path / "nowhere"), "--out", str(tmp_path / "o2")]) != 0
    assert events()[-1]["eventType"] == "FAIL"
    assert "nowhere" not in json.dumps(events()[-1])


def test_a_collector_gets_the_events(parts, table, tmp_path, events, valid, monkeypatch):
    with collector() as (url, got):
        monkeypatch.setenv("OPENLINEAGE_URL", url)
        monkeypatch.setenv("OPENLINEAGE_API_KEY", "token")
        monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "hospital")
        monkeypatch.setenv("OPENLINEAGE_PARENT_ID", "hospital/segment/0192d5a1-0000-7000-8000-000000000000")
        assert copied(table, tmp_path) == 0
    assert {(path, key) for path, key, _ in got} == {("/api/v1/lineage", "Bearer token")}
    assert sorted(one["eventType"] for _, _, one in got) == ["COMPLETE", "START"]
    for _, _, one in got:
        valid(one)
        assert one["job"]["namespace"] == "hospital"
        assert one["run"]["facets"]["parent"]["job"]["name"] == "segment"
    assert events() == []


@pytest.mark.parametrize("trouble", ["http://127.0.0.1:1", "ftp://127.0.0.1", "nonsense", "error"])
def test_a_collector_that_does_not_work_fails_no_run(parts, table, tmp_path, events, monkeypatch, capsys, trouble):
    with collector(500) as (url, _):
        monkeypatch.setenv("OPENLINEAGE_URL", url if trouble == "error" else trouble)
        assert copied(table, tmp_path) == 0
    told = capsys.readouterr().err
    assert told.count("openlineage: the collector took no event") == 1
    assert "127.0.0.1" not in told
    assert sorted(one["eventType"] for one in events()) == ["COMPLETE", "START"]


def test_events_that_fail_at_once_are_told_once(events, monkeypatch, capsys):
    class Busy(threading.Event):
        """Is asked by both before one of them can go on."""

        def is_set(self):
            found = super().is_set()
            time.sleep(0.2)
            return found

    monkeypatch.setattr(openlineage, "_failed", Busy())
    monkeypatch.setenv("OPENLINEAGE_URL", "nonsense")
    senders = [threading.Thread(target=openlineage._post, args=("{}",)) for _ in range(2)]
    for one in senders:
        one.start()
    for one in senders:
        one.join()
    assert capsys.readouterr().err.count("the collector took no event") == 1
    assert events() == [{}, {}]


def test_a_file_that_cannot_be_written_fails_no_run(parts, table, tmp_path, events, monkeypatch):
    monkeypatch.setenv("CLAIMED_MED_EVENTS", "/proc/nowhere/events.jsonl")
    assert copied(table, tmp_path) == 0


def test_events_can_be_turned_off(parts, table, tmp_path, events, monkeypatch):
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")
    assert copied(table, tmp_path) == 0
    assert events() == []


def test_a_file_that_is_too_long_is_put_aside(events, tmp_path, monkeypatch):
    monkeypatch.setattr(openlineage, "_MOST_BYTES", 500)
    for _ in range(5):
        openlineage.emit(openlineage.event("START", openlineage.Run("job")))
    assert (tmp_path / "events.old.jsonl").is_file()
    assert len(events()) == 1


def test_events_of_a_run_elsewhere_are_delivered_as_they_are(tmp_path, events):
    told = [openlineage.event(kind, openlineage.Run("boxed")) for kind in ("START", "COMPLETE")]
    text = "\n".join(["half a li", json.dumps(told[0]), '{"schemaURL": "another"}', "[1]", json.dumps(told[1]), ""])
    (tmp_path / "boxed").write_text(text)
    openlineage.forward(tmp_path / "boxed")
    assert events() == told


def test_nothing_but_a_plain_file_is_taken_from_elsewhere(tmp_path, events):
    (tmp_path / "plain").write_text(json.dumps(openlineage.event("START", openlineage.Run("boxed"))))
    (tmp_path / "link").symlink_to(tmp_path / "plain")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "nowhere", "."):
        openlineage.forward(tmp_path / name)
    assert events() == []
    openlineage.forward(tmp_path / "plain")
    assert len(events()) == 1


def test_no_patient_attribute_is_in_an_event(tmp_path, events):
    phantoms.write("chest_ct", tmp_path / "PLANTED_FOLDER")
    words = ["load-folder", "--path", str(tmp_path / "PLANTED_FOLDER"), "--out", str(tmp_path / "out")]
    assert run.main(words) == 0
    text = json.dumps(events())
    assert len(events()) == 2
    assert not [value for value in phantoms.PLANTED.values() if value in text]
    assert "PLANTED_FOLDER" not in text
