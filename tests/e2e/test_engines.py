"""One pipeline on every engine: the same bytes, and records that differ only in engine and times."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from claimed_med import secret
from claimed_med.cli import main
from claimed_med.engines.ir import load
from claimed_med.payload import LINEAGE, digest_files, files_below
from claimed_med.pipeline_cli import find, names
from claimed_med.testing import canvas, elyra, servers, slurm

pytestmark = pytest.mark.xdist_group("engines")
PIPELINE = "segment_and_report"
COMPONENTS = Path(__file__).resolve().parent.parent.parent / "components"
RESULTS = (
    "check-quality/checked",
    "select-series/selected",
    "condition-1/segment-brain/segmentation",
    "condition-1/measure-segments/measurements",
    "condition-1/render-overview/capture",
    "condition-1/validate-objects/validation",
)


@pytest.fixture(scope="module")
def head(data):
    """One real series: the head MR."""
    return data / "mr_t1_siemens_head"


@pytest.fixture(scope="module")
def reference(head, tmp_path_factory):
    """The run folder of this machine's own engine."""
    out = tmp_path_factory.mktemp("local") / "out"
    assert _run(out, head, "--no-cache") == 0
    return out


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


def _run(out, path, *options):
    return main(["pipeline", "run", PIPELINE, "--set", f"path={path}", "--out", str(out), *options])


def _files(folder):
    """Name -> sha256 of a port's payload."""
    return {name: one for name, one in digest_files(dict(files_below(folder))).items() if name != LINEAGE}


def _record(folder):
    """A record without engine and times, and without the digests of its ancestors, which follow from those."""

    def bare(told):
        told = copy.deepcopy(told)
        for name in ("engine", "started", "ended"):
            assert told["environment"].pop(name)
        told["parents"] = sorted(told["parents"])
        return told

    record = bare(json.loads((folder / LINEAGE).read_text()))
    record["ancestors"] = sorted(json.dumps(bare(one), sort_keys=True) for one in record["ancestors"].values())
    return record


def _check_same(reference, place_of, engine):
    """Every port has the same bytes and, but for engine and times, the same record."""
    for port in RESULTS:
        place = place_of(port)
        assert _files(place) == _files(reference / port), port
        assert _record(place) == _record(reference / port), port
        assert json.loads((place / LINEAGE).read_text())["environment"]["engine"] == engine
    assert list((reference / RESULTS[2]).rglob("segmentation.dcm"))
    assert list((reference / RESULTS[3]).rglob("report.dcm"))


@pytest.mark.slurm
def test_slurm_gives_the_same_bytes_and_records(reference, head, cluster, tmp_path):
    assert _run(tmp_path, head, "--engine", "slurm") == 0
    _check_same(reference, lambda port: tmp_path / port, "slurm")
    assert (tmp_path / ".status" / "condition-2.segment-body").read_text() == "skipped\n"


@pytest.mark.airflow
def test_airflow_gives_the_same_bytes_and_records(reference, head, airflow, tmp_path):
    assert _run(tmp_path, head, "--engine", "airflow") == 0
    _check_same(reference, lambda port: tmp_path / port, "airflow")
    assert not (tmp_path / "condition-2").exists()


@pytest.mark.cwl
@pytest.mark.parametrize("name", names())
def test_every_pipeline_is_valid_cwl(name, tmp_path):
    program = servers.programs("cwl") / "cwltool"
    servers.require(present=program.is_file(), absent="cwltool is absent (make engines)")
    file = tmp_path / "pipeline.cwl"
    assert main(["pipeline", "compile", name, "--target", "cwl", "--out", str(file)]) == 0
    done = subprocess.run([program, "--validate", file], capture_output=True, text=True, check=False)
    assert (done.returncode, "is valid CWL" in done.stdout + done.stderr) == (0, True), done.stderr


# Airflow's own operators make the pods of a DAG file; there is no cluster, so only what they would ask for is seen.
PODS = """
import json, sys
from importlib.machinery import SourceFileLoader
from kubernetes.client import ApiClient
dag = SourceFileLoader("dag", sys.argv[1]).load_module()
pods = {name: one.build_pod_request_obj(None) for name, one in dag.step.items()}
print("PODS" + json.dumps({name: ApiClient().sanitize_for_serialization(pod) for name, pod in pods.items()}))
"""
KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: none, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: none, user: {}}]
contexts: [{name: none, context: {cluster: none, user: none}}]
current-context: none
"""


@pytest.mark.airflow
def test_pods_of_airflow_are_valid_and_as_the_site_says(airflow, tmp_path):
    import kubernetes_validate

    site = Path(__file__).parent.parent / "unit" / "targets" / "golden" / "platform.toml"
    file = tmp_path / "dag_file.py"
    words = ["--target", "airflow", "--platform", str(site), "--set", "path=/data/x", "--out", str(file)]
    assert main(["pipeline", "compile", PIPELINE, *words]) == 0
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    environment = {"AIRFLOW_HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "kubeconfig"), "PATH": "/usr/bin:/bin"}
    program = [servers.programs("airflow") / "python", "-W", "ignore", "-c", PODS, file]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    pods = json.loads(done.stdout.partition("PODS")[2])
    assert len(pods) == 12
    for pod in pods.values():
        kubernetes_validate.validate(pod, "1.34", strict=True)
        (container,) = pod["spec"]["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert "@sha256:" in container["image"]
    brain = pods["condition-1.segment-brain"]["spec"]
    assert brain["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert brain["nodeSelector"] == {"gpu": "a100"}
    assert "secretKeyRef" in json.dumps(brain)


@pytest.mark.cwl
def test_cwl_gives_the_same_bytes_and_records(reference, head, tmp_path):
    program = servers.programs("cwl") / "cwltool"
    servers.require(present=program.is_file(), absent="cwltool is absent (make engines)")
    file, job = tmp_path / "pipeline.cwl", tmp_path / "job.json"
    assert main(["pipeline", "compile", PIPELINE, "--target", "cwl", "--out", str(file)]) == 0
    job.write_text(json.dumps({"path": {"class": "Directory", "location": head.as_uri()}}))
    kept = ["--preserve-environment", secret.ENVIRONMENT]
    words = [program, "--no-container", *kept, "--outdir", tmp_path / "out", file, job]
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
    environment[secret.ENVIRONMENT] = secret.secret().decode()  # every step has a home of its own
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    _check_same(reference, lambda port: tmp_path / "out" / ".".join(port.split("/")), "cwl")
    assert json.loads(done.stdout)["condition-2.segment-body.segmentation"] is None


@pytest.mark.elyra
def test_elyra_validates_and_exports_all_and_the_export_gives_the_same_bytes(reference, head, data, tmp_path):
    servers.require(present=(servers.programs("elyra") / "elyra-pipeline").is_file(), absent=elyra.ABSENT)
    lab = elyra.Elyra(tmp_path / "home", servers.programs("elyra"), COMPONENTS)
    lab.add_runtime()
    files = [tmp_path / f"{name}.pipeline" for name in names()]
    for file in files:
        shutil.copyfile(find(file.stem, ".pipeline"), file)
    done = lab.export(*files)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Pipeline was exported") == len(files)
    for file in files:
        load(file.with_suffix(".yaml"))
    out = tmp_path / "out"
    words = ["--set", f"path={head}", "--out", str(out), "--no-cache"]
    code = main(["pipeline", "run", str(tmp_path / f"{PIPELINE}.yaml"), *words])
    assert code == 3, "the branch for CT has no series, and Elyra has no conditions"
    _check_same(reference, lambda port: out / port.removeprefix("condition-1/"), "local")
    _check_credit(tmp_path, data)


def _check_credit(folder, data):
    """A pipeline without conditions gives the same payloads by its own and by Elyra's file, all of them."""
    given = ["--set", f"table={data / 'tabular' / 'german.data'}", "--set", "n_splits=2", "--no-cache"]
    source = {"own": "german_credit_fairness", "elyra": str(folder / "german_credit_fairness.yaml")}
    for name, file in source.items():
        assert main(["pipeline", "run", file, *given, "--out", str(folder / name)]) == 0
    ports = [path.parent.relative_to(folder / "own") for path in (folder / "own").rglob(LINEAGE)]
    assert len(ports) >= 3
    assert all(_files(folder / "own" / port) == _files(folder / "elyra" / port) for port in ports)


@pytest.mark.elyra
@pytest.mark.browser
def test_elyra_draws_a_pipeline_with_all_its_nodes(tmp_path):
    servers.require(present=(servers.programs("elyra") / "elyra-pipeline").is_file(), absent=elyra.ABSENT)
    servers.require(present=bool(canvas.program()), absent=canvas.ABSENT)
    lab = elyra.Elyra(tmp_path / "home", servers.programs("elyra"), COMPONENTS)
    (tmp_path / "work").mkdir()
    file = tmp_path / "work" / f"{PIPELINE}.pipeline"
    shutil.copyfile(find(PIPELINE, ".pipeline"), file)
    picture = Path(os.environ.get("CLAIMED_MED_WRITE_PICTURE", "") or tmp_path / "elyra.png")
    assert canvas.screenshot(lab, file, picture, 12) == 12
    assert picture.read_bytes().startswith(b"\x89PNG")
    from PIL import Image

    colours = Image.open(picture).convert("RGB").getcolors(1 << 24)
    assert len(colours) > 100, "an empty page has few colours"
