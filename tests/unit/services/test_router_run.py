from __future__ import annotations

import dataclasses

import pytest

import claimed_med as cm
from claimed_med.errors import RefusedError
from claimed_med.services import router_run
from claimed_med.services.router_rules import RouteRule
from claimed_med.services.router_run import RunFailed
from claimed_med.testing import phantoms

RULE = RouteRule("r", component="segment-lungs", input="", settings={"threshold_hu": -400.0})
DEIDENTIFY = RouteRule("r", pipeline="p", take=("deidentify/*", "turn/oriented"))


def never():
    return False


def words(rule, tmp_path):
    return router_run._words(rule, "1.2.3", tmp_path / "in", tmp_path / "out")


def test_a_component_gets_the_study_at_its_ports_and_its_settings(tmp_path):
    told = words(RULE, tmp_path)
    assert told[:4] == ["run", "segment-lungs", "--series", str(tmp_path / "in")]
    assert told[4:] == ["--threshold-hu", "-400.0", "--out", str(tmp_path / "out")]


def test_a_pipeline_gets_the_study_as_a_parameter_and_its_uid_in_texts(tmp_path):
    rule = RouteRule("r", pipeline="p", settings={"query": "{study_uid}", "min_slices": 3, "strict": True})
    assert words(rule, tmp_path)[:3] == ["pipeline", "run", "p"]
    pairs = [one for one in words(rule, tmp_path) if "=" in one]
    assert pairs == ["query=1.2.3", "min_slices=3", "strict=true", f"path={tmp_path / 'in'}"]


def test_a_setting_that_the_component_does_not_have_is_final(tmp_path):
    rule = dataclasses.replace(RULE, settings={"threshold": 1})
    with pytest.raises(RunFailed, match="segment-lungs has no setting threshold") as caught:
        words(rule, tmp_path)
    assert caught.value.is_final
    assert not caught.value.is_because_of_data


def test_a_run_tells_why_it_failed(tmp_path):
    phantoms.write("head_mr", tmp_path / "in")
    with pytest.raises(RunFailed) as caught:
        router_run.run(RULE, "1.2.3", tmp_path / "in", tmp_path / "out", never)
    assert caught.value.is_because_of_data
    assert not [word for word in phantoms.PLANTED.values() if word in str(caught.value)]


def test_a_run_ends_when_it_is_told_to_or_takes_too_long(tmp_path):
    phantoms.write("chest_ct", tmp_path / "in")
    with pytest.raises(RunFailed, match="the router is stopping"):
        router_run.run(RULE, "1.2.3", tmp_path / "in", tmp_path / "out", lambda: True)
    with pytest.raises(RunFailed, match="took longer than"):
        router_run.run(dataclasses.replace(RULE, limit_s=0.0), "1", tmp_path / "in", tmp_path / "out", never)


def test_the_folder_of_a_study_is_made_once_and_only_of_its_files(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"a")
    (tmp_path / "b.dcm").write_bytes(b"b")
    router_run.make_input([tmp_path / "a.dcm"], tmp_path / "v1" / "input")
    inode = (tmp_path / "v1" / "input").stat().st_ino
    router_run.make_input([tmp_path / "a.dcm"], tmp_path / "v1" / "input")
    assert (tmp_path / "v1" / "input").stat().st_ino == inode
    router_run.make_input([tmp_path / "a.dcm", tmp_path / "b.dcm"], tmp_path / "v1" / "input")
    assert sorted(one.name for one in (tmp_path / "v1" / "input").iterdir()) == ["a.dcm", "b.dcm"]


@pytest.fixture
def out(tmp_path, monkeypatch):
    """What a pipeline made: de-identified objects, a decision on them, and images that were made of them."""
    monkeypatch.setenv("CLAIMED_MED_SECRET", "a secret of more than sixteen bytes")
    phantoms.write_series(tmp_path / "in", phantoms.chest_values((3, 32, 32)), name="run")
    made = cm.deidentify_dicom(cm.DicomCollection(tmp_path / "in"))
    for name, handle in made._asdict().items():
        handle.save(tmp_path / "out" / "deidentify" / name)
    place = tmp_path / "out" / "deidentify"
    deidentified = cm.DicomCollection(place / "deidentified")
    checked = cm.check_deidentification(deidentified, cm.Report(place / "audit"))
    checked.decision.save(tmp_path / "out" / "check" / "decision")
    turned = cm.normalize_orientation(cm.DicomSeries(place / "deidentified"))
    turned.save(tmp_path / "out" / "turn" / "oriented")
    return tmp_path / "out"


def test_what_a_decision_blesses_may_leave_and_what_was_made_of_it(out):
    found = [one for one in router_run.results(DEIDENTIFY, out) if one.suffix == ".dcm"]
    assert len(found) == 6


def test_nothing_leaves_without_the_decision(out):
    (out / "check" / "decision" / "decision.json").unlink()
    for taken in ("deidentify/*", "turn/*"):
        with pytest.raises(RefusedError, match="no decision lets go"):
            router_run.results(dataclasses.replace(DEIDENTIFY, take=(taken,)), out)


def test_nothing_leaves_that_was_changed_after_the_decision(out):
    file = next((out / "deidentify" / "deidentified").rglob("*.dcm"))
    file.write_bytes(file.read_bytes() + b"\0\0")
    with pytest.raises(RefusedError, match="no decision lets go"):
        router_run.results(DEIDENTIFY, out)


def test_only_ports_that_are_named_are_results(out):
    assert router_run.results(dataclasses.replace(DEIDENTIFY, take=("*/selected",)), out) == []
