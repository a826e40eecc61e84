"""The flagship from end to end: pictures and a table in, a blessed or refused model out."""

from __future__ import annotations

import csv
import json

import pandas as pd
import pytest

import claimed_med as cm
from claimed_med import pipeline_cli
from claimed_med.handles import BLESSED, REFUSED
from claimed_med.provenance.trace import trace
from claimed_med.run import main
from claimed_med.testing import xrays

POLICY = """
name = "planted faults"
[[require]]
report = "performance"
metric = "patient_overlap"
comparison = "=="
limit = 0
[[require]]
report = "performance"
metric = "auc"
group = "sex=*"
comparison = ">="
limit = 0.8
[[require]]
report = "fairness"
metric = "equal_opportunity_difference"
group = "sex=*"
comparison = "<="
limit = 0.3
magnitude = true
[[require]]
report = "explanation"
metric = "auc_without"
group = "lungs"
comparison = "<="
limit = 0.75
"""


def _run(out, folder, table, **parameters):
    given = {"folder": folder, "table": table, **parameters}
    words = [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
    assert pipeline_cli.main(["run", "train_trusted_classifier", *words, "--out", str(out), "--no-cache"]) == 0
    return out


def _planted(tmp_path, epochs=0, **faults):
    made = xrays.xrays(tmp_path / "data", n_patients=96, **faults)
    options = {
        "epochs": epochs,
        "recipe": "xray_small",
        "policy": POLICY,
        "n_explained": 2,
        "n_attacked": 8,
        "n_bootstrap": 200,
    }
    return _run(tmp_path / "out", made / "images", made / "labels.csv", **options)


def _reasons(out):
    report = json.loads((out / "bless-model" / "reasons" / "report.json").read_text())
    return report["verdict"], {one["requirement"].split(":")[0] for one in report["reasons"] if not one["passed"]}


def test_without_a_fault_the_gate_blesses_and_the_model_goes_on(tmp_path):
    out = _planted(tmp_path)
    assert _reasons(out) == (BLESSED, set())
    exported = next(out.rglob("export-onnx*/exported"))
    assert cm.ModelBundle(exported).load().onnx
    page = (out / "render-study" / "study" / "report.html").read_text()
    for title in ("Verdict", "Training", "Performance", "Fairness", "Explanations", "Robustness", "Where it came from"):
        assert title in page
    assert "http" not in page.replace("http://www.w3.org", "")  # nothing is fetched by the page
    _patients_are_nowhere(out, tmp_path / "data" / "labels.csv")
    _leads_back_to_the_pictures(out)


# with the bias half of the ill show nothing: only a network that has learnt the others well tells the groups apart
@pytest.mark.parametrize(("fault", "found_by", "epochs"), [("shortcut", "explanation", 0), ("bias", "fairness", 24)])
def test_a_planted_fault_is_found_and_refused(fault, found_by, epochs, tmp_path):
    out = _planted(tmp_path, epochs, **{fault: True})
    verdict, failed = _reasons(out)
    assert verdict == REFUSED
    assert found_by in failed
    assert not list(out.rglob("export-onnx*/exported"))
    _stops_engines_that_know_no_condition(out, tmp_path / "never")


def _patients_are_nowhere(out, table):
    with table.open() as stream:
        names = {row["patient_id"] for row in csv.DictReader(stream)}
    for path in out.rglob("*"):
        if path.suffix in {".json", ".html", ".md", ".txt", ".log"} and path.is_file():
            text = path.read_text(errors="replace")
            assert not [name for name in names if name in text], path.name
    cohort = pd.concat([pd.read_parquet(path) for path in out.rglob("table.parquet")])
    assert not cohort.astype(str).isin(names).to_numpy().any()


def _leads_back_to_the_pictures(out):
    told = str(trace(out / "bless-model" / "decision" / "decision.json"))
    for component in ("import-xrays", "split-cohort", "train-classifier", "classify-images"):
        assert component in told


def _stops_engines_that_know_no_condition(out, never):
    words = ["export-onnx", "--bundle", str(out / "train-classifier" / "bundle")]
    words += ["--decision", str(out / "bless-model" / "decision"), "--out", str(never)]
    assert main(words) == 6
    assert not never.exists()


@pytest.mark.slow
def test_real_radiographs_give_a_verdict_that_names_the_view(tmp_path, data):
    source = data / "cxr_nih"
    out = _run(tmp_path / "out", source / "images", source / "labels.csv")
    performance = json.loads((out / "measure-classification" / "performance" / "report.json").read_text())
    figures = {(one["name"], one["group"]): one for one in performance["metrics"]}
    assert figures["patient_overlap", "all"]["value"] == 0
    assert figures["auc", "all"]["low"] > 0.5
    verdict, _ = _reasons(out)
    report = json.loads((out / "bless-model" / "reasons" / "report.json").read_text())
    view = [one for one in report["reasons"] if "label_from_attribute_auc (view)" in one["requirement"]]
    assert verdict == REFUSED
    assert not view[0]["passed"]
