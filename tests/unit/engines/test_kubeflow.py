"""Kubeflow, against a server made from the client's own models that executes what is uploaded."""

import itertools
import json
import threading
import time

import pytest
from kfp import dsl

from claimed_med.engines.ir import load
from claimed_med.engines.kubeflow import KubeflowEngine, _places
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
    def run(out="out", root="store", source=chain, patience_s=600.0, **parameters):
        report = Report(quiet=True)
        platform = Platform(namespace="imaging", store=Store(root=str(tmp_path / root) if root else ""))
        engine = KubeflowEngine(
            tmp_path / out, platform=platform, report=report, source=source, poll_s=0.05, patience_s=patience_s
        )
        return engine.run(load(source), parameters), report

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


def test_a_network_that_is_away_for_a_while_is_waited_for(server, start, source, tmp_path):
    server.trouble = iter([0] * 8 + [503, 429, 0, 504])  # the client itself asks four times before it gives up
    code, _ = start(path=str(source))
    assert code == 0
    assert list(server.trouble) == []
    assert len(server.runs) == 1
    assert (tmp_path / "out" / "count-lines" / "grown" / "lineage.json").is_file()
    assert not (tmp_path / "out" / "kubeflow-run.json").exists()


@pytest.mark.parametrize("status", [0, 503, 401])
def test_a_run_that_cannot_be_followed_any_more_goes_on_and_the_same_command_follows_it(
    server, start, source, tmp_path, status
):
    server.held.clear()
    server.trouble = itertools.chain([-1], itertools.repeat(status))
    with pytest.raises(EngineError, match="goes on in the cluster") as caught:
        start(path=str(source), patience_s=0.4)
    (run_id,) = server.runs
    assert run_id in str(caught.value)
    assert "run the same command again, with the same --out" in str(caught.value)
    assert kubeflow.TOKEN not in str(caught.value)
    server.trouble = iter(())
    with pytest.raises(EngineError, match="goes on into this folder"):
        start(path=str(source), n_more="7")
    server.held.set()
    code, report = start(path=str(source))
    assert code == 0
    assert report.tasks["count-lines"].status == "done"
    assert list(server.runs) == [run_id]
    assert (tmp_path / "out" / "count-lines" / "grown" / "lineage.json").is_file()


def test_a_run_that_the_server_forgot_is_started_anew(server, start, source):
    server.trouble = itertools.repeat(503)
    with pytest.raises(EngineError, match="goes on"):
        start(path=str(source), patience_s=0.1)
    server.trouble = iter(())
    server.runs.clear()
    assert start(path=str(source))[0] == 0
    assert len(server.runs) == 1


def test_a_server_that_is_not_there_is_told(start, source, monkeypatch):
    monkeypatch.setenv("KFP_HOST", "http://127.0.0.1:9")
    monkeypatch.setenv("KFP_TOKEN", "SECRETWORD")
    with pytest.raises(EngineError, match="the server does not answer") as caught:
        start(path=str(source))
    assert "SECRETWORD" not in str(caught.value)


def test_every_turn_of_a_loop_keeps_its_record(server, start, source, compiled, steps, tmp_path):
    @dsl.pipeline(name="turns")
    def turns(path: str):
        made = steps["make-table"](path=path)
        with dsl.ParallelFor([1, 2, 3]) as n_more:
            steps["count-lines"](table=made.outputs["table"], n_more=n_more)

    code, report = start(source=compiled(turns), path=str(source))
    assert code == 0
    records = [json.loads(one.read_text()) for one in (tmp_path / "out" / "count-lines").rglob("lineage.json")]
    assert sorted(one["settings"]["n_more"] for one in records) == [1, 2, 3]
    (stored,) = (tmp_path / "out" / "make-table").rglob("lineage.json")
    assert stored.parent.relative_to(tmp_path / "out").as_posix() == "make-table/table"
    assert [name for name in report.tasks if name.startswith("count-lines")] == [
        "count-lines",
        "count-lines (2)",
        "count-lines (3)",
    ]
    assert {one.status for one in report.tasks.values()} == {"done"}


def test_every_attempt_keeps_its_record_and_none_leaves_the_run_folder(server, start, source, tmp_path):
    server.held.clear()
    thread = threading.Thread(target=lambda: start(path=str(source)), daemon=True)
    thread.start()
    while not list((tmp_path / "store").rglob("count-lines/*/grown/lineage.json")):
        time.sleep(0.01)
    (stored,) = (tmp_path / "store").rglob("count-lines/*/grown/lineage.json")
    earlier = stored.parents[2] / "earlier attempt" / "grown"
    earlier.mkdir(parents=True)
    (earlier / "lineage.json").write_text("an earlier attempt")
    server.held.set()
    thread.join()
    kept = {path.parent.parent.name: path.read_text() for path in (tmp_path / "out" / "count-lines").rglob("*.json")}
    assert kept == {"earlier attempt": "an earlier attempt", stored.parents[1].name: stored.read_text()}


def test_a_name_in_the_store_cannot_leave_the_run_folder():
    stored = {"a": "task/e/port/lineage.json", "b": "../e/port/lineage.json", "c": "task/e/../lineage.json"}
    assert {name: str(place) for name, place in _places(stored).items()} == {"a": "task/port"}


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
