"""The gate: it says yes or no with reasons, and no is no also for engines that know no condition."""

from __future__ import annotations

import json
import math

import pytest

import claimed_med as cm
from claimed_med.errors import RefusedError
from claimed_med.handles import BLESSED, REFUSED
from claimed_med.trust import policy as policies

POLICY = """
name = "one figure"
[[require]]
report = "performance"
metric = "auc"
bound = "low"
comparison = ">="
limit = 0.7
"""


@pytest.fixture
def gate(radiographs):
    bundle = radiographs[3]
    digest = bundle.load().digest

    def ask(value, model=digest, **options):
        metrics = [] if value is None else [{"name": "auc", "group": "all", "value": value, "low": value, "note": ""}]
        report = cm.Report({"kind": "x", "model_digest": model, "metrics": metrics})
        empty = cm.Report({"kind": "x", "model_digest": digest, "metrics": []})
        return cm.bless_model(bundle, report, empty, empty, empty, policy=POLICY, **options)

    return ask


def test_a_model_that_holds_is_blessed_by_its_digest(gate, radiographs):
    made = gate(0.8)
    assert made.verdict == made.decision.load()["verdict"] == BLESSED
    assert made.decision.load()["subject"] == radiographs[3].load().digest


@pytest.mark.parametrize("value", [0.6, None, "0.9", True, math.nan])
def test_what_does_not_hold_or_is_no_figure_is_refused_with_its_reason(gate, value):
    made = gate(None if value is None else (value if not isinstance(value, float) or value == value else None))
    assert made.verdict == REFUSED
    failed = made.decision.load()["failed"]
    assert [one["requirement"] for one in failed] == ["performance: low of auc (all) >= 0.7"]
    assert failed[0]["told"] or failed[0]["value"] is not None


def test_a_report_about_another_model_is_refused(gate):
    assert gate(0.9, model="0" * 64).verdict == REFUSED


def test_digest_and_signature_of_the_policy_are_in_the_lineage(gate, monkeypatch):
    monkeypatch.setenv("CLAIMED_MED_SECRET", "one")
    told = gate(0.8).decision.record.units[0].statements
    assert told["policy_sha256"] == policies.load(POLICY).digest
    assert told["verdict"] == BLESSED
    monkeypatch.setenv("CLAIMED_MED_SECRET", "two")
    other = gate(0.8).decision.record.units[0].statements
    assert other["policy_sha256"] == told["policy_sha256"]
    assert other["policy_signature"] != told["policy_signature"]


def test_the_reasons_are_there_whatever_the_verdict(gate):
    for value in (0.8, 0.6):
        made = gate(value)
        assert len(made.reasons.load()["reasons"]) == 1
        assert made.verdict in made.reasons.page()


def test_failing_on_refusal_is_an_error_with_the_exit_code_of_refusals(gate):
    with pytest.raises(RefusedError, match="1 of 1 requirements") as caught:
        gate(0.6, fail_on_refusal=True)
    assert caught.value.exit_code == 6
    assert gate(0.8, fail_on_refusal=True).verdict == BLESSED


def test_components_with_a_decision_refuse_by_themselves(gate, radiographs):
    bundle = radiographs[3]
    with pytest.raises(RefusedError, match="is a refusal"):
        cm.export_onnx(bundle, gate(0.6).decision)
    foreign = {**gate(0.8).decision.load(), "subject": "0" * 64}
    with pytest.raises(RefusedError, match="blesses another payload"):
        cm.export_onnx(bundle, cm.Decision(foreign))


def test_a_decision_is_plain_json_on_disk(gate, tmp_path):
    folder = gate(0.8).decision.save(tmp_path / "decision")
    assert json.loads((folder / "decision.json").read_text())["verdict"] == BLESSED
