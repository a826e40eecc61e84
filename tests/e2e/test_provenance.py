"""The promises of lineage on the prebuilt pipelines: done again, exported, and no patient anywhere."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom import dcmread

from claimed_med.dicom.web import Archive
from claimed_med.provenance import crate, keys, sign
from claimed_med.provenance.index import build
from claimed_med.provenance.rerun import Order, rerun
from claimed_med.provenance.verify import verify
from claimed_med.testing import orthanc, phantoms, predictions, xrays
from claimed_med.testing.models import decide
from claimed_med.testing.serving import classifier

ROOT = Path(__file__).resolve().parent.parent.parent
CHECKER = Path(__file__).parent / "tools" / "check_crate.py"
PROFILES = ("ro-crate-1.1", "process-run-crate-0.5", "workflow-run-crate-0.5", "provenance-run-crate-0.5")
ABSENT = "roc-validator is not installed in .venv/roc (make .venv/.dev)"
pytestmark = pytest.mark.xdist_group("torch")


def run(name, out, environment=None, **parameters):
    words = [word for pair in parameters.items() for word in ("--set", f"{pair[0]}={pair[1]}")]
    command = [sys.executable, "-m", "claimed_med", "pipeline", "run", name, *words, "--out", str(out), "--no-cache"]
    given = {**os.environ, **(environment or {})}
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A run of segment_and_report on a chest CT with planted names, in places with planted names, and its events."""
    place = tmp_path_factory.mktemp("study") / "PLANTED_HOSPITAL"
    phantoms.write("chest_ct", place / "PLANTED_SOURCE")
    events = place.parent / "events.jsonl"
    out = run(
        "segment_and_report",
        place / "PLANTED_OUT",
        {"CLAIMED_MED_EVENTS": str(events)},
        path=place / "PLANTED_SOURCE",
    )
    return out, place / "PLANTED_SOURCE", events


@pytest.fixture(scope="module")
def check(data):
    """A function that validates crates: (profiles, crates) -> crate -> profile -> faults."""
    python = Path(os.environ.get("CLAIMED_MED_ROC_PYTHON", "") or ROOT / ".venv" / "roc" / "bin" / "python")
    if not python.is_file():
        (pytest.fail if os.environ.get("CLAIMED_MED_REQUIRE_SERVERS") == "1" else pytest.skip)(ABSENT)

    def validate(profiles, *crates):
        command = [str(python), str(CHECKER), str(data.parent / "specs"), ",".join(profiles), *map(str, crates)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout.splitlines()[-1])

    return validate


def damaged(folder, target, change):
    shutil.copytree(folder, target)
    path = target / "ro-crate-metadata.json"
    content = json.loads(path.read_text())
    change({one["@id"]: one for one in content["@graph"]}, target)
    path.write_text(json.dumps(content))
    return str(target)


DAMAGES = {
    "no profile": lambda graph, _: graph["./"].pop("conformsTo"),
    "no licence": lambda graph, _: graph["./"].pop("license"),
    "no main workflow": lambda graph, _: graph["./"].pop("mainEntity"),
    "a run without its tool": lambda graph, _: graph["#run-check-quality"].pop("instrument"),
    "a step without its tool": lambda graph, _: graph["#step-check-quality"].pop("workExample"),
    "an engine without its run": lambda graph, _: graph["#organize"].pop("result"),
    "a parameter without its type": lambda graph, _: graph["#parameter/min_slices"].pop("additionalType"),
    "a file that is not there": lambda _, folder: (folder / "check-quality" / "checked" / "lineage.json").unlink(),
}


def test_a_crate_passes_every_required_check_and_a_damaged_one_does_not(study, check, tmp_path):
    for name, with_data in (("bare", False), ("whole", True)):
        crate.export(study[0], tmp_path / name, with_data=with_data)
    for faults in check(PROFILES, tmp_path / "bare").values():
        assert faults == {profile: [] for profile in PROFILES}
    bad = {
        damaged(tmp_path / "bare", tmp_path / f"bad {number}", change): name
        for number, (name, change) in enumerate(DAMAGES.items())
    }
    found = check(PROFILES[-1:], tmp_path / "whole", *bad)
    assert found.pop(str(tmp_path / "whole")) == {PROFILES[-1]: []}
    assert [bad[place] for place, faults in found.items() if not faults[PROFILES[-1]]] == []


def test_no_patient_attribute_is_in_any_record_event_or_crate(study, tmp_path):
    out, source, events = study
    keys.make(tmp_path / "key")
    crate.export(out, tmp_path / "crate")
    sign.sign(tmp_path / "crate", tmp_path / "key")
    build([out], str(tmp_path / "index.sqlite"))
    with sqlite3.connect(tmp_path / "index.sqlite") as database:
        rows = "\n".join(text for (text,) in database.execute("SELECT body FROM records"))
    written = [*out.rglob("*.json"), *(path for path in (tmp_path / "crate").rglob("*") if path.is_file()), events]
    planted = [*phantoms.PLANTED.values(), "PLANTED_SOURCE", "PLANTED_OUT", "PLANTED_HOSPITAL"]
    assert str(dcmread(next(source.rglob("*.dcm"), next(source.iterdir()))).PatientName) in planted
    texts = {path: path.read_text() for path in written} | {Path("index"): rows}
    assert len(texts) > 40
    assert len(events.read_text().splitlines()) > 15
    assert [(path.name, value) for path, text in texts.items() for value in planted if value in text] == []


def test_segment_and_report_is_identical_with_and_without_its_source(study, tmp_path):
    out, source, _ = study
    kept = rerun(out, tmp_path / "kept", Order())
    assert (kept.is_reproduced, kept.conditions, kept.reused) == (True, [], ["load-folder"])
    assert {one.verdict for one in kept.outputs} == {"identical"}
    whole = rerun(out, tmp_path / "whole", Order(given={"path": str(source)}))
    assert (whole.is_reproduced, whole.conditions, whole.reused) == (True, [], [])
    assert len(whole.outputs) == len(kept.outputs) + 2


def test_german_credit_is_identical(data, tmp_path):
    table = data / "tabular" / "german.data"
    out = run("german_credit_fairness", tmp_path / "run", table=table, n_splits=2)
    expect_identical(out, tmp_path / "again", {"table": str(table)})


def test_deploying_a_blessed_model_is_identical(tmp_path):
    bundle = classifier(tmp_path / "bundle")
    decision = decide(bundle, tmp_path / "decision")
    given = {"path": str(bundle), "decision_path": str(decision), "storage_uri": "s3://models/xray"}
    given |= {"archives": "https://pacs.example/dicom-web", "egress": "10.1.2.3/32:443"}
    out = run("deploy_blessed_model", tmp_path / "run", **given, protocol="grpc")
    expect_identical(out, tmp_path / "again", given)


def test_monitoring_a_deployed_model_is_identical(tmp_path):
    """Also what was told: a rerun with a fresh file of what people know tells it again."""
    predictions.reference(tmp_path / "before")
    given = {
        "reference": str(tmp_path / "before" / "table.parquet"),
        "record": str(predictions.record(tmp_path / "record.sqlite")),
    }
    out = run("monitor_deployed_model", tmp_path / "run", **given, told=tmp_path / "told")
    expect_identical(out, tmp_path / "again", {**given, "told": str(tmp_path / "told again")})
    expect_identical(out, tmp_path / "without places", {})


@pytest.mark.slow
def test_de_identifying_and_reporting_is_identical(tmp_path, monkeypatch):
    monkeypatch.setenv("CLAIMED_MED_SECRET", "a secret of more than sixteen bytes")
    phantoms.write("chest_ct", tmp_path / "source" / "ct")
    out = run("deidentify_and_report", tmp_path / "run", path=tmp_path / "source")
    assert list(out.rglob("validate-objects*"))
    expect_identical(out, tmp_path / "again", {"path": str(tmp_path / "source")})
    expect_identical(out, tmp_path / "without places", {})


@pytest.mark.slow
def test_the_training_pipeline_is_identical(tmp_path):
    made = xrays.xrays(tmp_path / "data", n_patients=48)
    given = {"folder": str(made / "images"), "table": str(made / "labels.csv")}
    small = {"recipe": "xray_small", "epochs": 1, "n_explained": 1, "n_attacked": 4, "n_bootstrap": 100}
    out = run("train_trusted_classifier", tmp_path / "run", **given, **small)
    expect_identical(out, tmp_path / "again", given)


@pytest.mark.slow
def test_brain_and_body_are_identical(tmp_path):
    phantoms.write("chest_ct", tmp_path / "source" / "ct")
    phantoms.brain_mr(tmp_path / "source" / "head")
    out = run("segment_and_report", tmp_path / "run", path=tmp_path / "source")
    expect_identical(out, tmp_path / "again", {"path": str(tmp_path / "source")})


@pytest.mark.slow
@pytest.mark.orthanc
def test_pipelines_between_archives_are_identical(archive_server, tmp_path, monkeypatch):
    monkeypatch.setenv("CLAIMED_MED_SECRET", "a secret of more than sixteen bytes")
    phantoms.write("chest_ct", tmp_path / "chest")
    files = sorted((tmp_path / "chest").rglob("*.dcm"))
    with Archive(archive_server.dicomweb_url) as archive:
        archive.store(files)
    query = str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
    url = archive_server.dicomweb_url
    out = run("pacs_segment_and_report", tmp_path / "pacs", url=url, query=query)
    expect_identical(out, tmp_path / "pacs again", {})
    with orthanc.orthanc(tmp_path / "research", dicom=False) as server:
        given = {"source_url": url, "query": query, "target_url": server.dicomweb_url}
        out = run("deidentify_for_research", tmp_path / "deid", **given)
    expect_identical(out, tmp_path / "deid again", {})


def expect_identical(out, again, given):
    done = rerun(out, again, Order(given=given))
    assert [str(one) for one in done.outputs if one.verdict != "identical"] == []
    assert done.outputs
    assert done.conditions == []
    assert verify(out)[1] == []
