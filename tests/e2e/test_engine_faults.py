"""Fan-out, retries and failures on real engines, with small components."""

import json
import re
import subprocess
import threading
import time

import pytest
from kfp import compiler, components, dsl

from claimed_med import registry
from claimed_med.cli import main
from claimed_med.errors import EngineError
from claimed_med.payload import folder_digest
from claimed_med.targets.kfp import render
from claimed_med.testing import phantoms, servers, slurm

pytestmark = pytest.mark.xdist_group("engines")
PARTS = "tests/parts"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    servers.require(present=slurm.installed(), absent=slurm.ABSENT)
    with slurm.slurm(tmp_path_factory.mktemp("slurm"), cores=4) as configuration, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(configuration))
        yield configuration


@pytest.fixture
def airflow(monkeypatch):
    program = servers.programs("airflow") / "airflow"
    servers.require(present=program.is_file(), absent="Airflow is absent (make engines)")
    monkeypatch.setenv("CLAIMED_MED_AIRFLOW", str(program))


@pytest.fixture
def pipeline(tmp_path, monkeypatch, request):
    """A small pipeline: a value decides whether the last step runs; the file to fail on can be given."""
    monkeypatch.setenv("CLAIMED_MED_COMPONENTS", str(request.config.rootpath / PARTS))
    steps = {
        name: components.load_component_from_text(render(registry.get(name).contract))
        for name in ("make-table", "count-lines")
    }

    @dsl.pipeline(name="small")
    def small(path: str, notes: str, fail_times: int = 0, pause_s: float = 0.0):
        table = steps["make-table"](path=path).outputs["table"]
        counted = steps["count-lines"](table=table, notes=notes, fail_times=fail_times, pause_s=pause_s).set_retry(2)
        with dsl.If(counted.outputs["n_lines"] > 1, name="many"):
            steps["count-lines"](table=counted.outputs["grown"], n_more=counted.outputs["n_lines"])

    compiler.Compiler().compile(small, str(tmp_path / "small.yaml"))
    (tmp_path / "notes").mkdir()
    (tmp_path / "source.csv").write_text("a\n1\n2\n")

    def run(engine, rows="source.csv", *options, **given):
        values = {"path": str(tmp_path / rows), "notes": str(tmp_path / "notes"), **given}
        words = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
        out = ["--out", str(tmp_path / "out"), "--engine", engine]
        return main(["pipeline", "run", str(tmp_path / "small.yaml"), *words, *out, *options])

    return run


def _statuses(text):
    """Task -> status out of the summary."""
    return dict(re.findall(r"^(\S+)  +(done|failed|skipped) ", text, re.MULTILINE))


@pytest.mark.slurm
def test_slurm_hands_values_on_and_tries_again(pipeline, cluster, tmp_path, capsys):
    assert pipeline("slurm", fail_times=1) == 0
    assert set(_statuses(capsys.readouterr().out).values()) == {"done"}
    assert (tmp_path / "out/condition-1/count-lines-2/n_lines").read_text() == "4"


@pytest.mark.slurm
def test_slurm_names_the_failure_and_skips_what_waits_for_it(pipeline, cluster, capsys):
    assert pipeline("slurm", fail_times=9) == 3
    shown = capsys.readouterr().out
    assert _statuses(shown) == {"make-table": "done", "count-lines": "failed", "condition-1.count-lines-2": "skipped"}
    assert "it is not time yet" in shown


@pytest.mark.slurm
def test_a_job_that_somebody_cancels_is_a_failure(pipeline, cluster, tmp_path, capsys):
    def cancel():
        for _ in range(600):
            listed = subprocess.run(
                ["squeue", "--noheader", "--name=count-lines", "--states=RUNNING", "--format=%i"],
                capture_output=True, text=True, check=False,
            ).stdout.split()  # fmt: skip
            if listed:
                subprocess.run(["scancel", *listed], check=True)
                return
            time.sleep(0.1)

    canceller = threading.Thread(target=cancel)
    canceller.start()
    assert pipeline("slurm", pause_s=60) == EngineError.exit_code
    canceller.join()
    shown = _statuses(capsys.readouterr().out)
    assert shown == {"make-table": "done", "count-lines": "failed", "condition-1.count-lines-2": "skipped"}


@pytest.mark.airflow
def test_airflow_hands_values_on_and_names_a_failure(pipeline, airflow, tmp_path, capsys):
    assert pipeline("airflow") == 0
    assert (tmp_path / "out/condition-1/count-lines-2/n_lines").read_text() == "4"
    (tmp_path / "broken.csv").write_text("")
    capsys.readouterr()
    assert pipeline("airflow", "broken.csv") == 1, "in the same run folder: the states are those of the last run"
    shown = capsys.readouterr().out
    assert _statuses(shown)["make-table"] == "failed"
    assert _statuses(shown)["condition-1.count-lines-2"] == "skipped"
    assert "unexpected" in shown


@pytest.fixture
def mapped(tmp_path):
    """A pipeline of mapped components over a mixed archive."""
    from claimed_med.pipeline_cli import find

    home = find("segment_and_report", ".py").parent.parent / "components"
    load, check, segment = (
        components.load_component_from_file(str(home / name / "component.yaml"))
        for name in ("input/load-folder", "filter/check-quality", "predict/segment-body")
    )

    @dsl.pipeline(name="mapped")
    def mapped(path: str):
        loaded = load(path=path).set_caching_options(False)
        segment(series=check(series=loaded.outputs["collection"]).outputs["checked"])

    compiler.Compiler().compile(mapped, str(tmp_path / "mapped.yaml"))
    phantoms.collection(tmp_path / "studies")
    return tmp_path / "mapped.yaml"


@pytest.mark.slurm
def test_slurm_fans_the_units_out_over_an_array(cluster, mapped, tmp_path):
    (tmp_path / "site.toml").write_text("[slurm]\nshards = 3\n")
    words = ["pipeline", "run", str(mapped), "--set", f"path={tmp_path / 'studies'}"]
    assert main([*words, "--out", str(tmp_path / "local"), "--no-cache"]) == 0
    options = ["--engine", "slurm", "--platform", str(tmp_path / "site.toml")]
    assert main([*words, "--out", str(tmp_path / "out"), *options]) == 0
    for port in ("check-quality/checked", "segment-body/segmentation"):
        assert folder_digest(tmp_path / "out" / port) == folder_digest(tmp_path / "local" / port)
        listed = json.loads((tmp_path / "out" / port / "units.json").read_text())["units"]
        assert {one["status"] for one in listed} >= {"done", "quarantined"} or port.startswith("segment")
    logs = {path.name for path in (tmp_path / "out" / "logs").iterdir()}
    assert {"check-quality.0.log", "check-quality.1.log", "check-quality.2.log", "check-quality.log"} <= logs
    assert not list((tmp_path / "out").rglob(".part-*"))
