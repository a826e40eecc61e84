"""Kubeflow, against a server made from the client's own models that executes what is uploaded."""

import json

import pytest
from kfp import dsl

from claimed_med.engines.ir import load
from claimed_med.engines.kubeflow import KubeflowEngine
from claimed_med.engines.report import Report
from claimed_med.errors import EngineError
from claimed_med.targets.platform import Platform, Store
from claimed_med.testing import kubeflow

pytestmark = pytest.mark.xdist_group("kubeflow")


@pytest.fixture
def server(tmp_path, monkeypatch):
    with kubeflow.kubeflow(tmp_path / "server") as running:
        monkeypatch.setenv("KFP_HOST", running.url)
        monkeypatch.setenv("KFP_TOKEN", kubeflow.TOKEN)
        yield running


@pytest.fixture
def chain(compiled, steps):
    @dsl.pipeline(name="chain")
    def chain(path: str, n_more: int = 1):
        made = steps["make-table"](path=path)
        counted = steps["count-lines"](table=made.outputs["table"], n_more=n_more)
        with dsl.If(counted.outputs["n_lines"] > 100):
            steps["count-lines"](table=counted.outputs["grown"])

    return compiled(chain)


@pytest.fixture
def start(tmp_path, chain):
    def run(out="out", root="store", **parameters):
        report = Report(quiet=True)
        platform = Platform(namespace="imaging", store=Store(root=str(tmp_path / root) if root else ""))
        engine = KubeflowEngine(tmp_path / out, platform=platform, report=report, source=chain, poll_s=0.05)
        return engine.run(load(chain), parameters), report

    return run


def test_a_run_is_uploaded_started_followed_and_its_lineage_fetched(server, start, source, tmp_path):
    code, report = start(path=str(source), n_more="3")
    assert code == 0
    told = {name: task.status for name, task in report.tasks.items()}
    assert told == {"make-table": "done", "count-lines": "done", "condition-1": "skipped"}
    (run,) = server.runs.values()
    assert run.runtime_config.parameters == {"path": str(source), "n_more": 3}
    for port, rows in (("make-table/table", "make-table"), ("count-lines/grown", "count-lines")):
        record = json.loads((tmp_path / "out" / port / "lineage.json").read_text())
        assert record["component"] == rows
    made = json.loads((tmp_path / "out/count-lines/grown/lineage.json").read_text())
    stored = next((tmp_path / "store").rglob("count-lines/*/grown/lineage.json"))
    assert json.loads(stored.read_text()) == made
    assert f"chain/{run.run_id}/count-lines/" in str(stored)


def test_the_same_pipeline_is_uploaded_once(server, start, source):
    start(path=str(source))
    start("again", path=str(source))
    uploads = [path for method, path in server.requests if "upload" in path]
    assert uploads == ["/apis/v2beta1/pipelines/upload", "/apis/v2beta1/pipelines/upload_version"]
    assert len(server.runs) == 2


def test_a_failed_task_is_told_with_its_reason(server, start, tmp_path):
    (tmp_path / "none.csv").write_bytes(b"\xff\xfe")
    code, report = start(path=str(tmp_path / "none.csv"))
    assert code == EngineError.exit_code
    assert report.tasks["make-table"].status == "failed"
    assert "UnicodeDecodeError" in report.tasks["make-table"].text


def test_without_a_store_nothing_is_fetched(server, start, source, tmp_path):
    code, _ = start("bare", root="", path=str(source))
    assert not list((tmp_path / "bare").rglob("lineage.json"))
    assert code in {0, EngineError.exit_code}


def test_a_wrong_token_is_refused_and_never_told(server, start, source, monkeypatch):
    monkeypatch.setenv("KFP_TOKEN", "SECRETWORD")
    with pytest.raises(EngineError, match=r"the server refused; got HTTP 401") as caught:
        start(path=str(source))
    assert "SECRETWORD" not in str(caught.value)


def test_without_a_host_it_is_said_how_to_name_one(start, source, monkeypatch):
    monkeypatch.delenv("KFP_HOST", raising=False)
    with pytest.raises(EngineError, match="KFP_HOST does not say where Kubeflow is"):
        start(path=str(source))


def test_the_server_refuses_what_the_models_do_not_know(server):
    import urllib.error
    import urllib.request

    def post(path, content):
        request = urllib.request.Request(f"{server.url}{path}", json.dumps(content).encode(), method="POST")  # noqa: S310 - the loopback
        request.add_header("Authorization", f"Bearer {kubeflow.TOKEN}")
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=10)  # noqa: S310 - the loopback
        caught.value.close()
        return caught.value.code

    assert post("/apis/v2beta1/runs", {"display_name": "x", "colour": "red"}) == 400
    assert post("/apis/v2beta1/runs", {"runtime_config": {"colour": "red"}}) == 400
    assert post("/apis/v2beta1/nonsense", {}) == 404
