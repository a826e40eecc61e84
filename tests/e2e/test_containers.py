"""Images and the local engine with a container for each task: real podman, and the bytes of plain processes.

kfp reads annotations, so they are no strings here.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from kfp import compiler, components, dsl

from claimed_med import lineage, registry
from claimed_med.dicom.web import Archive
from claimed_med.engines.cache import Cache
from claimed_med.engines.container import ContainerRunner
from claimed_med.engines.ir import load
from claimed_med.engines.local import LocalEngine
from claimed_med.engines.report import Report
from claimed_med.errors import EngineError
from claimed_med.payload import digest_files, files_below, folder_digest
from claimed_med.pipeline_cli import find
from claimed_med.provenance.verify import verify
from claimed_med.targets.kfp import render
from claimed_med.testing import containers, phantoms

pytestmark = [pytest.mark.container, pytest.mark.xdist_group("container")]
ROOT = Path(__file__).parent.parent.parent
PARTS = ROOT / "tests" / "parts"
WHERE = {"engine", "image_digest", "source_revision", "packages", "python", "started", "ended", "platform", "threads"}


@pytest.fixture(scope="session")
def engine_installed():
    containers.require_installed()


@pytest.fixture(scope="session")
def cpu(engine_installed):
    """The image of the core."""
    return containers.build("cpu")["cpu"]


@pytest.fixture(scope="session")
def images(engine_installed):
    """All images."""
    return containers.build()


@pytest.fixture
def foreign(engine_installed, monkeypatch):
    """The component of somebody else, in the base image."""
    monkeypatch.setenv("CLAIMED_MED_COMPONENTS", str(PARTS))
    text = (Path(__file__).parent / "foreign" / "component.yaml").read_text()
    return components.load_component_from_text(text.replace("IMAGE", containers.base()))


def ours(name):
    return components.load_component_from_text(render(registry.get(name).contract))


def compiled(function, folder):
    path = folder / f"{function.name}.yaml"
    compiler.Compiler().compile(function, str(path))
    return path


def start(ir, out, *, cache=None, isolation="container", **parameters):
    report = Report(quiet=True)
    runner = ContainerRunner(out) if isolation == "container" else None
    engine = LocalEngine(out, cache=cache and Cache(cache), report=report, workers=2, runner=runner)
    return engine.run(load(ir, foreign=True), parameters), {title: one.status for title, one in report.tasks.items()}


def payloads(out):
    ports = sorted(path.parent for path in Path(out).rglob("lineage.json"))
    return {path.relative_to(out).as_posix(): folder_digest(path) for path in ports}


def logs(out):
    return {path.stem: path.read_text() for path in (out / "logs").glob("*.log")}


def facts(place):
    return dict(line.partition(" ")[::2] for line in (place / "data").read_text().splitlines())


def events(path):
    """What each event is about; all but the pipeline's own must name it as their parent."""
    listed = [json.loads(line) for line in path.read_text().splitlines()]
    root = listed[0]["run"]["runId"]
    parents = {one["run"]["facets"].get("parent", {}).get("run", {}).get("runId") for one in listed[1:-1]}
    assert parents == {root}
    return sorted((one["eventType"], one["job"]["name"], one["outputs"] == []) for one in listed)


def hardened(image, folder, *words):
    """Run a component as strictly as the issue asks; `{in}` of the words is the read-only input."""
    out = folder / "out"
    out.mkdir(mode=0o777)
    out.chmod(0o777)
    mounts = [f"--mount=type=bind,source={words[0]},target=/in,readonly", f"--mount=type=bind,source={out},target=/out"]
    containers.run("run", "--rm", *containers.HARDENED, *mounts, image, "run", *words[1:], "/in", "--out", "/out")
    return out


def plain(name, port, source, out):
    words = [sys.executable, "-m", "claimed_med", "run", name, port, str(source), "--out", str(out)]
    subprocess.run(words, check=True)
    return out


@dsl.pipeline(name="body")
def body(path: str):
    loaded = ours("load-folder")(path=path).set_caching_options(False)
    checked = ours("check-quality")(series=loaded.outputs["collection"], min_slices=3)
    chosen = ours("select-series")(collection=checked.outputs["checked"], rule='Modality == "CT"')
    with dsl.If(chosen.outputs["n_selected"] > 0, name="found"):
        cut = ours("segment-body")(series=chosen.outputs["selected"])
        both = {"series": chosen.outputs["selected"], "segmentation": cut.outputs["segmentation"]}
        measured = ours("measure-segments")(**both)
        drawn = ours("render-overview")(**both)
        more = {"measurements": measured.outputs["measurements"], "capture": drawn.outputs["capture"]}
        ours("validate-objects")(**both, **more)


# --- images


def test_the_image_answers_with_the_contracts_of_its_components(cpu):
    told = containers.run("run", "--rm", *containers.HARDENED, cpu, "list", "--json").stdout
    listed = [one for one in (registry.get(name).contract for name in registry.names()) if one.image == "cpu"]
    assert json.loads(told) == json.loads(json.dumps([one.as_dict() for one in listed]))
    inside = containers.run("run", "--rm", "--network=none", "--entrypoint=cat", cpu, "/opt/claimed-med/contracts.json")
    assert inside.stdout == told


def test_labels_name_the_revision_the_base_and_the_contracts(cpu):
    config = json.loads(containers.run("image", "inspect", cpu).stdout)[0]["Config"]
    labels = config["Labels"]
    revision = labels["org.opencontainers.image.revision"].removesuffix("-dirty")
    made_of = ["claimed_med", "datasets", "pipelines", "pyproject.toml", "docker/*.Dockerfile", "docker/install.sh"]
    made_of += ["docker/sbom.py", "docker/constraints.txt"]
    words = ["git", "diff", "--stat", revision, "HEAD", "--", *made_of]
    assert subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout == ""
    base = json.loads(containers.run("image", "inspect", containers.base()).stdout)[0]["Id"]
    assert labels["org.opencontainers.image.base.digest"] == base
    assert {"name": "segment-body", "version": "1.0.0"} in json.loads(labels["org.claimed-med.contracts"])
    assert config["User"] == "1000:1000"


def test_every_version_of_a_component_is_a_tag_of_its_image(cpu):
    versions = {one.version for one in (registry.get(n).contract for n in registry.names()) if one.image == "cpu"}
    same = {containers.run("image", "inspect", "--format={{.Id}}", f"claimed-med/cpu:{one}").stdout for one in versions}
    assert same == {containers.run("image", "inspect", "--format={{.Id}}", cpu).stdout}


def check_bill(name):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = (ROOT / "build" / "images" / f"{name}.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    assert len({one["bom-ref"] for one in bill["components"]}) == len(bill["components"])
    assert set(bill["dependencies"][0]["dependsOn"]) == {one["bom-ref"] for one in bill["components"]}
    return bill["components"]


def test_the_bill_of_materials_is_valid_and_names_what_is_inside(cpu):
    listed = check_bill("cpu")
    parts = {one["name"]: one for one in listed if one["purl"].startswith("pkg:pypi/")}
    inside = containers.run("run", "--rm", "--network=none", "--entrypoint=python", cpu, "-c", INSIDE).stdout
    wanted = json.loads(inside)
    assert {name: parts[name]["version"] for name in wanted} == wanted
    assert all(parts[name]["hashes"] for name in wanted)
    debian = [one for one in listed if one["purl"].startswith("pkg:deb/debian/")]
    packages = containers.run("run", "--rm", "--network=none", "--entrypoint=dpkg-query", cpu, "-f", ".", "-W").stdout
    assert len(debian) == len(packages)


INSIDE = """
import importlib.metadata, json, re
print(json.dumps({re.sub(r"[-_.]+", "-", one.name).lower(): one.version for one in importlib.metadata.distributions()}))
"""


def test_a_component_gives_the_bytes_of_the_plain_process(cpu, data, tmp_path):
    source = data / "ct_body_siemens_j2k"
    boxed = hardened(cpu, tmp_path, source, "segment-body", "--series")
    free = plain("segment-body", "--series", source, tmp_path / "plain")
    assert len(payloads(free)) == 1
    assert payloads(boxed) == payloads(free)


# --- the local engine


def test_a_pipeline_by_container_gives_the_bytes_of_processes(cpu, data, tmp_path):
    ir, source, cache = compiled(body, tmp_path), str(data / "ct_body_siemens_j2k"), tmp_path / "cache"
    before = digest_files(dict(files_below(Path(source))))
    code, statuses = start(ir, tmp_path / "boxed", cache=cache, path=source)
    assert (code, set(statuses.values())) == (0, {"done"}), logs(tmp_path / "boxed")
    assert start(ir, tmp_path / "free", isolation="process", path=source)[0] == 0
    boxed, free = payloads(tmp_path / "boxed"), payloads(tmp_path / "free")
    assert len(boxed) == 11
    assert boxed == free
    assert digest_files(dict(files_below(Path(source)))) == before
    assert verify(tmp_path / "boxed")[1] == []
    assert not list((tmp_path / "boxed").rglob(".partial-*"))

    digest = containers.run("image", "inspect", "--format={{.Digest}}", cpu).stdout.strip()
    for port in boxed:
        one, other = (lineage.read(tmp_path / name / port).as_dict() for name in ("boxed", "free"))
        assert one["environment"]["engine"] == "local-container"
        assert one["environment"]["image_digest"] == digest
        assert {key for key in one["environment"] if one["environment"][key] != other["environment"][key]} <= WHERE
        for record in (one, other):
            for name in ("environment", "parents", "ancestors"):
                del record[name]
        assert one == other

    code, statuses = start(ir, tmp_path / "again", cache=cache, path=source)
    assert (code, set(statuses.values())) == (0, {"cached"})
    assert payloads(tmp_path / "again") == boxed
    code, statuses = start(ir, tmp_path / "by-process", cache=cache, isolation="process", path=source)
    assert "cached" not in statuses.values()


def test_a_component_that_fails_is_a_failed_task_with_its_reason(cpu, tmp_path):
    @dsl.pipeline(name="wrong")
    def wrong(path: str):
        loaded = ours("load-folder")(path=path).set_caching_options(False)
        chosen = ours("select-series")(collection=loaded.outputs["collection"], rule="Modality ===")
        ours("segment-body")(series=chosen.outputs["selected"])

    phantoms.write("chest_ct", tmp_path / "ct")
    code, statuses = start(compiled(wrong, tmp_path), tmp_path / "run", path=str(tmp_path / "ct"))
    assert code != 0
    assert statuses == {"load-folder": "done", "select-series": "failed", "segment-body": "skipped"}
    assert "select-series" in logs(tmp_path / "run")["select-series"]
    assert not (tmp_path / "run" / "select-series" / "selected").exists()


def test_odd_paths_local_components_and_values_reach_the_container(cpu, monkeypatch, tmp_path):
    monkeypatch.setenv("CLAIMED_MED_COMPONENTS", str(PARTS))
    source = tmp_path / 'odd, "name": x' / "a, b:c.csv"
    source.parent.mkdir()
    source.write_text("a\n1\n2\n")

    @dsl.pipeline(name="lines")
    def lines(path: str):
        made = ours("make-table")(path=path)
        counted = ours("count-lines")(table=made.outputs["table"], n_more=3)
        with dsl.If(counted.outputs["n_lines"] > 4):
            ours("count-lines")(table=counted.outputs["grown"])

    told = {name: tmp_path / f"{name}.events.jsonl" for name in ("run", "free")}
    monkeypatch.setenv("CLAIMED_MED_EVENTS", str(told["run"]))
    code, statuses = start(compiled(lines, tmp_path), tmp_path / "run", path=str(source))
    assert (code, list(statuses.values()).count("done")) == (0, 3), logs(tmp_path / "run")
    monkeypatch.setenv("CLAIMED_MED_EVENTS", str(told["free"]))
    assert start(compiled(lines, tmp_path), tmp_path / "free", isolation="process", path=str(source))[0] == 0
    assert payloads(tmp_path / "run") == payloads(tmp_path / "free")
    assert events(told["run"]) == events(told["free"])
    assert len(events(told["run"])) == 8


def test_a_killed_task_is_told_as_killed(cpu, monkeypatch, tmp_path):
    monkeypatch.setenv("CLAIMED_MED_COMPONENTS", str(PARTS))
    (tmp_path / "a.csv").write_text("a\n1\n")

    @dsl.pipeline(name="dies")
    def dies(path: str):
        made = ours("make-table")(path=path)
        ours("count-lines")(table=made.outputs["table"], die="true")

    report = Report(quiet=True)
    engine = LocalEngine(tmp_path / "run", cache=None, report=report, runner=ContainerRunner(tmp_path / "run"))
    assert engine.run(load(compiled(dies, tmp_path)), {"path": str(tmp_path / "a.csv")}) == EngineError.exit_code
    assert "SIGKILL" in report.tasks["count-lines"].text


def test_a_secret_reaches_the_component_and_no_command_line(cpu, data, monkeypatch, tmp_path):
    monkeypatch.setenv("CLAIMED_MED_SECRET", "correct horse battery staple")
    seen = []
    real = subprocess.Popen.__init__

    def spy(self, args, *rest, **options):
        seen.append(" ".join(map(str, args)) if isinstance(args, list) else str(args))
        real(self, args, *rest, **options)

    @dsl.pipeline(name="hide")
    def hide(path: str):
        loaded = ours("load-folder")(path=path).set_caching_options(False)
        ours("deidentify-dicom")(files=loaded.outputs["collection"])

    phantoms.write("chest_ct", tmp_path / "ct")
    ir = compiled(hide, tmp_path)
    monkeypatch.setattr(subprocess.Popen, "__init__", spy)
    code, _ = start(ir, tmp_path / "run", path=str(tmp_path / "ct"))
    assert code == 0, logs(tmp_path / "run")
    calls = [words for words in seen if " run " in words]
    assert len(calls) == 2
    assert not any("horse" in words for words in seen)
    monkeypatch.undo()
    monkeypatch.setenv("CLAIMED_MED_SECRET", "correct horse battery staple")
    assert start(ir, tmp_path / "free", isolation="process", path=str(tmp_path / "ct"))[0] == 0
    assert payloads(tmp_path / "run") == payloads(tmp_path / "free")
    assert b"horse" not in b"".join(path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file())


def test_an_image_that_is_not_here_or_carries_something_else_is_refused_before_anything_runs(cpu, tmp_path):
    content = yaml.safe_load(compiled(body, tmp_path).read_text())
    container = content["deploymentSpec"]["executors"]["exec-segment-body"]["container"]
    for image, words in (("claimed-med/cpu:0.0.1", "not on this machine"), (containers.base(), "does not carry")):
        container["image"] = image
        (tmp_path / "changed.yaml").write_text(yaml.safe_dump(content))
        with pytest.raises(EngineError, match=words):
            start(tmp_path / "changed.yaml", tmp_path / "run", path=str(tmp_path))
        assert not list(tmp_path.glob("run/*/*"))


# --- all images


@pytest.mark.slow
def test_every_image_builds_and_says_what_it_is(images):
    wanted = {registry.get(name).contract.image for name in registry.names()}
    assert wanted <= set(images)
    for name, reference in images.items():
        listed = json.loads(containers.run("run", "--rm", *containers.HARDENED, reference, "list", "--json").stdout)
        contracts = [one for one in (registry.get(n).contract for n in registry.names()) if one.image == name]
        assert listed == json.loads(json.dumps([one.as_dict() for one in contracts]))
        check_bill(name)


@pytest.mark.slow
def test_the_weights_lie_in_the_image_and_in_its_bill(images):
    from claimed_med.models.brain import weights_digest

    models = [one for one in check_bill("torch") if one["type"] == "machine-learning-model"]
    assert [one["hashes"][0]["content"] for one in models] == [weights_digest()]


@pytest.mark.slow
def test_a_network_in_its_image_gives_the_bytes_of_the_plain_process(images, data, tmp_path):
    source = data / "mr_t1_siemens_head"
    boxed = hardened(images["torch"], tmp_path, source, "segment-brain", "--series")
    free = plain("segment-brain", "--series", source, tmp_path / "plain")
    assert len(payloads(free)) == 1
    assert payloads(boxed) == payloads(free)


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["mr_t1_siemens_head", "ct_body_siemens_j2k"])
def test_segment_and_report_by_container_gives_the_same_seg_and_sr(images, data, tmp_path, folder):
    ir = find("segment_and_report", ".yaml")
    assert start(ir, tmp_path / "boxed", path=str(data / folder))[0] == 0
    assert start(ir, tmp_path / "free", isolation="process", path=str(data / folder))[0] == 0
    boxed, free = payloads(tmp_path / "boxed"), payloads(tmp_path / "free")
    assert boxed == free
    made = {Path(port).name for port in boxed}
    assert {"segmentation", "measurements", "capture", "validation"} <= made


@pytest.mark.slow
@pytest.mark.orthanc
def test_what_talks_to_an_archive_gives_the_bytes_of_the_plain_process(
    images, archive_server, monkeypatch, data, tmp_path
):
    files = sorted(path for path in (data / "mr_t1_siemens_head").rglob("*") if path.is_file())[:5]
    stored = Archive(archive_server.dicomweb_url).store(files)
    assert {one.status for one in stored} == {"stored"}
    asked = {"url": archive_server.dicomweb_url, "query": "ModalitiesInStudy=MR"}
    words = ["run", "fetch-studies", "--url", asked["url"], "--query", asked["query"]]
    monkeypatch.setenv("CLAIMED_MED_CONTAINER_NETWORK", "host")

    @dsl.pipeline(name="fetch")
    def fetch(url: str, query: str):
        ours("fetch-studies")(url=url, query=query).set_caching_options(False)

    ir = compiled(fetch, tmp_path)
    code, _ = start(ir, tmp_path / "boxed", **asked)
    assert code == 0, logs(tmp_path / "boxed")
    subprocess.run([sys.executable, "-m", "claimed_med", *words, "--out", str(tmp_path / "free")], check=True)
    boxed, free = (payloads(tmp_path / name) for name in ("boxed/fetch-studies", "free"))
    assert boxed == free
    assert len(list((tmp_path / "boxed").rglob("*.dcm"))) == 5


# --- containers of others


@pytest.fixture
def mixed(foreign, tmp_path):
    """Ours, theirs, ours."""

    @dsl.pipeline(name="mixed")
    def mixed(path: str, label: str):
        loaded = ours("load-folder")(path=path).set_caching_options(False)
        counted = foreign(folder=loaded.outputs["collection"], label=label)
        with dsl.If(counted.outputs["total"] > 10):
            ours("count-lines")(table=counted.outputs["counts"], n_more=2)

    return compiled(mixed, tmp_path)


def test_a_foreign_component_stands_between_ours_with_lineage(cpu, mixed, tmp_path):
    phantoms.write("chest_ct", tmp_path / "ct")
    source, cache, out = str(tmp_path / "ct"), tmp_path / "cache", tmp_path / "run"
    code, statuses = start(mixed, out, cache=cache, path=source, label="Doe^Jane")
    assert (code, set(statuses.values())) == (0, {"done"}), logs(out)
    n_files = len([name for name in files_below(out / "load-folder" / "collection") if name != "lineage.json"])
    assert (out / "count-files" / "counts" / "counts.csv").read_text() == f"label,n_files\nDoe^Jane,{n_files}\n"
    assert (out / "count-files" / "total").read_text() == str(n_files)
    assert verify(out)[1] == []

    loaded = lineage.read(out / "load-folder" / "collection")
    record = lineage.read(out / "count-files" / "counts")
    assert record.component.startswith("foreign/localhost/claimed-med/base")
    assert record.parents == {"folder": loaded.digest()}
    assert record.environment["image_digest"].startswith("sha256:")
    assert "Doe" not in record.to_json()
    last = next(out.rglob("grown/lineage.json"))
    assert lineage.read(last.parent).parents["table"] == record.digest()
    assert loaded.digest() in lineage.read(last.parent).ancestors

    code, statuses = start(mixed, tmp_path / "again", cache=cache, path=source, label="Doe^Jane")
    assert (code, set(statuses.values())) == (0, {"cached"})
    assert payloads(tmp_path / "again") == payloads(out)
    assert (tmp_path / "again" / "count-files" / "total").read_text() == str(n_files)
    code, statuses = start(mixed, tmp_path / "other", cache=cache, path=source, label="other")
    assert (code, statuses["load-folder"], statuses["count-files"]) == (0, "cached", "done")


def test_a_foreign_container_sees_and_may_do_nothing_else(cpu, mixed, monkeypatch, tmp_path):
    monkeypatch.setenv("CLAIMED_MED_SECRET", "x")
    monkeypatch.setenv("CLAIMED_MED_DICOMWEB_TOKEN", "x")
    phantoms.write("chest_ct", tmp_path / "ct")
    before = folder_digest(tmp_path / "ct")
    assert start(mixed, tmp_path / "run", path=str(tmp_path / "ct"), label="$(id) `id` ; id")[0] == 0
    told = facts(tmp_path / "run" / "count-files" / "report")
    assert told["label"] == "$(id) `id` ; id"
    assert int(told["user"]) != 0
    assert int(told["capabilities"], 16) == 0
    assert told["interfaces"].split() == ["lo"]
    assert (told["root"], told["input"], told["home"]) == ("read-only", "read-only", "writable")
    assert told["arguments"] == "4"
    assert told["environment"] == "0"
    assert folder_digest(tmp_path / "ct") == before


def test_a_foreign_container_is_refused_as_a_process(mixed, tmp_path):
    with pytest.raises(EngineError, match="--isolation container"):
        start(mixed, tmp_path / "run", isolation="process", path=str(tmp_path), label="x")


@pytest.mark.parametrize(
    ("script", "words"), [("exit 7", "code 7"), ("true", "did not write"), ("nosuchprogram", "code 127|not be started")]
)
def test_a_foreign_container_that_fails_leaves_nothing_behind(engine_installed, tmp_path, script, words):
    text = f"""
name: broken
outputs: [{{name: made, type: Artifact}}]
implementation:
  container:
    image: {containers.base()}
    command: [sh, -c, '{script} # {{{{}}}}', {{outputPath: made}}]
"""
    broken = components.load_component_from_text(text)

    @dsl.pipeline(name="breaks")
    def breaks():
        broken()

    report = Report(quiet=True)
    engine = LocalEngine(tmp_path / "run", cache=None, report=report, runner=ContainerRunner(tmp_path / "run"))
    assert engine.run(load(compiled(breaks, tmp_path), foreign=True), {}) != 0
    assert report.tasks["broken"].status == "failed"
    left = [path for path in (tmp_path / "run").rglob("*") if path.is_file() and path.suffix != ".log"]
    assert left == [tmp_path / "run" / "run.json"]


def test_no_container_outlives_an_engine_that_was_killed(engine_installed, tmp_path):
    text = f"""
name: sleeper
outputs: [{{name: made, type: Artifact}}]
implementation:
  container: {{image: {containers.base()}, command: [sh, -c, "sleep 600", {{outputPath: made}}]}}
"""
    sleeper = components.load_component_from_text(text)

    @dsl.pipeline(name="sleeps")
    def sleeps():
        sleeper()

    words = [sys.executable, "-m", "claimed_med", "pipeline", "run", str(compiled(sleeps, tmp_path))]
    words += ["--out", str(tmp_path / "run"), "--isolation", "container", "--no-cache"]
    running = subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env={**os.environ})
    try:
        name = wait_for(lambda: container_of(running))
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
        assert wait_for(lambda: name not in names_of_containers())
        assert wait_for(lambda: not list((tmp_path / "run").glob(".partial-work*")))
    finally:
        running.kill()
        running.wait()


def names_of_containers():
    return containers.run("ps", "--format={{.Names}}").stdout.split()


def container_of(running):
    assert running.poll() is None
    found = containers.run("ps", "--filter=label=org.claimed-med.run", "--format={{.Names}} {{.Command}}").stdout
    return next((line.split()[0] for line in found.splitlines() if "sleep 600" in line), "")


def wait_for(condition):
    for _ in range(600):
        if found := condition():
            return found
        time.sleep(0.2)
    pytest.fail("waited two minutes in vain")
    return None
