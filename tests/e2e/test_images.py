"""Every image runs every component that it claims, as strictly as can be, with the bytes of plain processes."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
import requests
import yaml
from threadpoolctl import threadpool_limits

import claimed_med as cm
from claimed_med import registry
from claimed_med.cli import main
from claimed_med.dicom.web_multipart import boundary_of, parts
from claimed_med.engines.flatten import flatten
from claimed_med.engines.ir import load
from claimed_med.engines.render import render
from claimed_med.payload import LINEAGE, folder_digest
from claimed_med.pipeline_cli import find, names
from claimed_med.targets import k8s_job, platform
from claimed_med.testing import containers, imports, postgres, predictions
from claimed_med.testing.example import example_of
from claimed_med.testing.models import decide
from claimed_med.testing.servers import free_port
from claimed_med.testing.serving import classifier, serving

pytestmark = [pytest.mark.container, pytest.mark.xdist_group("container")]
IMAGES = ("cpu", "map", "network", "serve", "torch")
TOKEN = "a-token-of-many-letters"  # noqa: S105 - of a test
SECRET = "the secret of a test of images"  # noqa: S105 - of a test


@pytest.fixture(scope="module")
def engine_installed():
    containers.require_installed()


@pytest.fixture(scope="module")
def cpu(engine_installed):
    """The image of the core."""
    return containers.build("cpu")["cpu"]


@pytest.fixture(scope="module")
def images(engine_installed):
    """All images."""
    return containers.build()


@pytest.fixture(scope="module", autouse=True)
def secret():
    """Examples are kept between tests, so all of them have one secret."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLAIMED_MED_SECRET", SECRET)
        patch.delenv("CLAIMED_MED_SECRET_FILE", raising=False)
        yield


def _check_imports(reference, names, *asked):
    start = ["run", "--rm", *containers.HARDENED, "--entrypoint=python", reference]
    done = containers.run(*start, "-m", "claimed_med.testing.imports", *asked, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert sorted(told) == sorted(names)
    assert {name: failed for name, failed in told.items() if failed} == {}


def _check_same(done, made, plain, contract, *, but=()):
    """Every output of a container has the bytes of the plain process."""
    assert done.returncode == 0, done.stderr[-2000:]
    for port in contract.outputs:
        if port.name not in but:
            assert folder_digest(made / port.name) == folder_digest(plain / port.name), port.name


def _both(reference, name, inputs, tmp_path, *settings, network="none"):
    """One component in its image and as a plain process; folder of the outputs."""
    done = containers.component(reference, [name, *settings], inputs, tmp_path / "boxed", network=network)
    words = [word for port, path in inputs.items() for word in (f"--{port}", str(path))]
    start = [sys.executable, "-m", "claimed_med", "run", name, *settings, *words]
    subprocess.run([*start, "--out", str(tmp_path / "plain")], check=True)
    _check_same(done, tmp_path / "boxed", tmp_path / "plain", registry.get(name).contract)
    return tmp_path / "boxed"


def test_all_images_are_looked_at():
    assert set(IMAGES) == {path.stem for path in (Path(__file__).parents[2] / "docker").glob("*.Dockerfile")}
    assert {registry.get(name).contract.image for name in registry.names()} <= set(IMAGES)


# --- what is claimed can be imported, and runs


def test_the_image_of_the_core_can_import_all_that_its_components_import(cpu):
    _check_imports(cpu, imports.carried("cpu"))


@pytest.mark.slow
@pytest.mark.parametrize("image", IMAGES)
def test_an_image_can_import_all_that_its_components_import(images, image):
    _check_imports(images[image], imports.carried(image))


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_the_one_image_of_a_job_can_import_what_all_steps_import(images, name):
    plan = flatten(load(find(name, ".yaml")))
    steps = sorted({step.component for step in plan.steps})
    _check_imports(images[k8s_job.image_of(plan)], steps, *steps)


def test_an_import_that_an_image_lacks_is_found(cpu):
    asked = ["-m", "claimed_med.testing.imports", "segment-brain", "explain-predictions"]
    start = ["run", "--rm", *containers.HARDENED, "--entrypoint=python", cpu, *asked]
    told = json.loads(containers.run(*start).stdout)
    assert any(one.startswith("torch") for one in told["segment-brain"])
    assert "captum" in str(told["explain-predictions"])


def test_imports_of_bodies_and_of_what_is_asked_for_by_name_are_seen():
    assert "deepbet:BrainExtraction" in imports.imports(registry.get("segment-brain"))
    assert "kubernetes.client" in imports.imports(registry.get("deploy-kserve"))
    assert "cartopy.crs" in imports.imports(registry.get("map-sites"))


def _readable(inputs):
    """Whoever runs inside may read the inputs: examples lie in folders of this user alone."""
    for folder in inputs.values():
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
    return inputs


# an example whose store is the memory of this process, and one whose record is a file beside its server: see below
ALONE = {"load-asset", "load-predictions"}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*registry.names()} - ALONE))
def test_a_component_in_its_image_gives_the_bytes_of_the_plain_process(images, name, tmp_path):
    component = registry.get(name)
    contract = component.contract
    with threadpool_limits(1):  # as `claimed-med run` has it in a process of its own
        example = example_of(component)
    assert example.first.code == 0, example.first.text
    network = "host" if contract.talks else "none"  # an archive of the test, on the loopback
    words = [name, *example.settings]
    inputs = _readable(example.moved_inputs())
    done = containers.component(images[contract.image], words, inputs, tmp_path / "out", network=network)
    told = [one.name for one in contract.outputs if contract.talks and one.kind == "Report"]  # of what a server did
    _check_same(done, tmp_path / "out", example.first.out, contract, but=told)


@pytest.mark.slow
def test_an_asset_of_a_folder_is_loaded_by_the_image_of_the_core(cpu, data, tmp_path):
    store = str(tmp_path / "store")
    words = ["run", "store-asset", "--asset", str(data / "ct_body_siemens_j2k"), "--store", store]
    assert main([*words, "--out", str(tmp_path / "stored")]) == 0
    digest = (tmp_path / "stored" / "digest").read_text()
    _readable({"store": Path(store)})
    made = _both(cpu, "load-asset", {}, tmp_path / "made", "--store", store, "--digest", digest)
    assert len(list((made / "asset").rglob("*"))) > 20


@pytest.mark.slow
@pytest.mark.postgres
def test_the_image_of_the_core_reads_a_record_in_postgresql(cpu, tmp_path, tmp_path_factory):
    postgres.require_installed()
    with postgres.postgres(tmp_path_factory.mktemp("postgres")) as url:
        predictions.record(url)
        made = _both(cpu, "load-predictions", {}, tmp_path / "made", "--url", url, network="host")
    assert len(cm.Table(made / "predictions").load()) == 400


# --- real data: the other images (cpu and torch: test_containers.py)


@pytest.mark.slow
def test_links_of_real_patients_by_the_image_network(images, data, tmp_path):
    source = data / "ct_body_siemens_j2k"
    made = _both(images["network"], "link-identities", {"files": source}, tmp_path)
    assert list((made / "links").rglob("*.json"))


@pytest.mark.slow
def test_real_figures_on_the_map_of_the_image_map(images, data, tmp_path):
    labels = pd.read_csv(data / "cxr_nih" / "labels.csv")
    site = "NIH Clinical Center"
    rows = pd.DataFrame({"site": site, "score": (labels["label"] != "no_finding").astype(float)})
    place = pd.DataFrame({"site": [site], "latitude": [39.0], "longitude": [-77.1]})
    for name, table in (("results", rows), ("sites", place)):
        (tmp_path / name).mkdir()
        table.to_csv(tmp_path / name / f"{name}.csv", index=False)
    inputs = {name: tmp_path / name for name in ("results", "sites")}
    made = _both(images["map"], "map-sites", inputs, tmp_path / "made")
    assert list((made / "picture").rglob("*.png"))


@pytest.mark.slow
def test_the_pod_of_a_job_gives_the_bytes_of_the_plain_run(images, data, tmp_path):
    source, name = data / "mr_t1_siemens_head", "segment_and_report"
    site = platform.Platform()
    job = yaml.safe_load(render("k8s-job", find(name, ".yaml"), "", site, {"path": "/data/study"}))
    (told,) = job["spec"]["template"]["spec"]["containers"]
    assert told["image"].startswith("claimed-med/torch:")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs").chmod(0o777)
    mounts = [f"--mount=type=bind,source={source},target=/data/study,readonly"]
    mounts += [f"--mount=type=bind,source={tmp_path / 'runs'},target=/runs"]
    given = [f"--env={one['name']}={one['value']}" for one in told["env"] if "value" in one]
    start = ["run", "--rm", *containers.HARDENED, *given, "--env=CLAIMED_MED_SECRET", *mounts]
    start += [f"--entrypoint={told['command'][0]}", images["torch"], *told["command"][1:], *told["args"]]
    done = containers.run(*start, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    words = ["pipeline", "run", name, "--set", f"path={source}", "--no-cache", "--out", str(tmp_path / "plain")]
    assert main(words) == 0
    boxed = tmp_path / "runs" / "segment-and-report"
    ports = [path.parent.relative_to(boxed) for path in boxed.rglob(LINEAGE)]
    assert len(ports) > 5
    for port in ports:
        assert folder_digest(boxed / port) == folder_digest(tmp_path / "plain" / port), port


# --- serving


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A bundle and a decision that blesses it."""
    folder = tmp_path_factory.mktemp("model")
    bundle = classifier(folder / "bundle")
    return bundle, decide(bundle, folder / "decision")


@pytest.fixture(scope="module")
def radiograph(data, tmp_path_factory):
    """One real chest X-ray as DICOM."""
    folder = tmp_path_factory.mktemp("xray")
    (folder / "in").mkdir()
    table = pd.read_csv(data / "cxr_nih" / "labels.csv").head(1)
    table.to_csv(folder / "in" / "labels.csv", index=False)
    picture = next((data / "cxr_nih").rglob(table["image"][0]))
    shutil.copyfile(picture, folder / "in" / picture.name)
    taken = cm.import_xrays(folder=str(folder / "in"), table=str(folder / "in" / "labels.csv")).images
    taken.save(folder / "series")
    return next((folder / "series").rglob("*.dcm"))


@contextlib.contextmanager
def _served(reference, model, folder):
    """The image serves a bundle, read-only, on a port of the loopback that is published; its name and address."""
    port, name = free_port(), f"claimed-med-test-{free_port()}"
    (folder / "tokens").write_text(f"pacs:{TOKEN}\n")
    (folder / "kept").mkdir()
    (folder / "kept").chmod(0o777)
    strict = ["--network=bridge", f"--publish=127.0.0.1:{port}:8080"]
    strict += [word for word in containers.HARDENED if not word.startswith("--network")]
    mounts = {"/bundle": model[0], "/decision": model[1], "/tokens": folder / "tokens"}
    binds = [f"--mount=type=bind,source={path},target={place},readonly" for place, path in mounts.items()]
    binds += [f"--mount=type=bind,source={folder / 'kept'},target=/kept"]
    words = ["serve", "/bundle", "--decision", "/decision", "--host", "0.0.0.0", "--behind-tls-proxy"]  # noqa: S104
    words += ["--token-file", "/tokens", "--grpc-port", "-1", "--max-batch", "1", "--work", "/tmp"]  # noqa: S108
    words += ["--log", "/kept/predictions.sqlite", "--audit", "/kept/audit.jsonl"]
    secrets = ["--env=CLAIMED_MED_SECRET"]
    containers.run("run", "--detach", f"--name={name}", *strict, *secrets, *binds, reference, *words)
    try:
        yield name, f"http://127.0.0.1:{port}"
    finally:
        containers.run("rm", "--force", "--time=0", name, check=False)


def _wait_ready(name, url):
    end = time.monotonic() + 300
    while time.monotonic() < end:
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(f"{url}/v2/health/ready", timeout=10).status_code == 200:
                return
        state = containers.run("inspect", "--format={{.State.Running}}", name).stdout.strip()
        assert state == "true", containers.run("logs", name, check=False).stderr[-2000:]
        time.sleep(0.5)
    pytest.fail("the server in the container is not ready after five minutes")


def _ask(url, path, token=TOKEN):
    headers = {"Content-Type": "application/dicom", "Authorization": f"Bearer {token}"}
    body = path.read_bytes()
    return requests.post(f"{url}/v1/models/model:predict", data=body, headers=headers, timeout=300)


def _told(response):
    """What an answer in parts says, without the ids of this server, and the objects in it."""
    assert response.status_code == 200, response.text
    boundary = boundary_of(response.headers["Content-Type"])
    told, *objects = (b"".join(part) for part in parts(iter([response.content]), boundary))
    bare = [{key: one[key] for key in one if key != "prediction_id"} for one in json.loads(told)["predictions"]]
    assert objects
    return bare, objects


def _infer(url):
    content = {
        "inputs": [{"name": "image", "shape": [1, 1, 64, 64], "datatype": "FP32", "data": [0.5] * 64 * 64}],
    }
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return requests.post(f"{url}/v2/models/model/infer", json=content, headers=headers, timeout=300)


@pytest.mark.slow
def test_the_image_serves_a_bundle_as_the_plain_server_does_and_drains(images, model, radiograph, tmp_path):
    with serving(model[0], tmp_path / "plain", "--decision", str(model[1]), "--max-batch", "1") as plain:
        wanted = _told(_ask(plain.url, radiograph))
        wanted_tensor = _infer(plain.url).json()["outputs"]
    (tmp_path / "boxed").mkdir()
    with _served(images["serve"], model, tmp_path / "boxed") as (name, url):
        _wait_ready(name, url)
        assert _ask(url, radiograph, "not the token at all").status_code in {401, 403}
        answer = _told(_ask(url, radiograph))
        assert answer[0][0]["outcome"] == "answered"
        assert answer == wanted, "the same score and the same bytes of the report"
        assert _infer(url).json()["outputs"] == wanted_tensor
        with ThreadPoolExecutor(16) as pool:
            asked = [pool.submit(_infer, url) for _ in range(200)]
            while not any(one.done() for one in asked):
                time.sleep(0.01)
            containers.run("kill", "--signal=TERM", name)
            answers = [_outcome(one) for one in asked]
        assert containers.run("wait", name).stdout.strip() == "0"
    assert set(answers) <= {200, 503, 0}, "whatever was taken is answered; the rest is turned away"
    assert 200 in answers
    lines = [json.loads(line) for line in (tmp_path / "boxed" / "kept" / "audit.jsonl").read_text().splitlines()]
    assert lines[0]["kind"] == "start"
    assert lines[-1]["kind"] == "stop"
    assert sum(one.get("status") == 200 for one in lines if one["kind"] == "request") >= answers.count(200)


def _outcome(future):
    """Status of an answer; 0 where nobody took the request."""
    try:
        return future.result().status_code
    except requests.ConnectionError:
        return 0
