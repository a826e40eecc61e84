"""What a caller calls a request comes back to the caller, and is written nowhere unless it can tell nothing."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from claimed_med.services import serve_error, serve_job
from claimed_med.services.serve_access import Door
from claimed_med.services.serve_job import Job
from claimed_med.services.serve_options import Options
from claimed_med.services.serve_record import Audit

NAMED = "1.2.840.113619.DOE.JANE"


@pytest.mark.parametrize("name", ["0f8fad5b-d9cb-469f-a165-70867728950e", "0F8FAD5BD9CB469FA16570867728950E"])
def test_a_uuid_is_written_as_it_is(name):
    assert Job("v2", 0.0, serve_job.request_id(name)).written_id == name


@pytest.mark.parametrize("name", [NAMED, "ACC-4711", "4711", "0f8fad5b-d9cb-469f-a165-7086772895"])
def test_any_other_word_is_echoed_and_written_as_a_keyed_hash(name, monkeypatch):
    job = Job("v2", 0.0, serve_job.request_id(name))
    assert job.request_id == name
    assert len(job.written_id) == 32
    assert name not in job.written_id
    assert Job("grpc", 0.0, name).written_id == job.written_id  # of two answers to one request
    monkeypatch.setenv("CLAIMED_MED_SECRET", "another")
    assert Job("v2", 0.0, name).written_id != job.written_id


def test_a_name_that_is_made_here_is_written_as_it_is():
    job = Job("v2", 0.0, serve_job.request_id(""))
    assert job.written_id == job.request_id


def test_the_audit_line_does_not_quote_the_caller(tmp_path):
    audit = Audit(str(tmp_path / "audit.jsonl"))
    job = Job("v2", 0.0, NAMED)
    Door(Options(Path("bundle")), audit).note(job, 200)
    text = (tmp_path / "audit.jsonl").read_text()
    assert "JANE" not in text
    assert orjson.loads(text)["request_id"] == job.written_id
    assert serve_error.told(serve_error.Busy("serve", "full"), job.request_id)["request_id"] == NAMED
