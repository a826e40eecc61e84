from __future__ import annotations

import pytest
import yaml

from claimed_med.engines.condition import check, evaluate
from claimed_med.engines.ir import load
from claimed_med.errors import EngineError
from claimed_med.pipeline_cli import find


@pytest.fixture
def golden():
    """The compiled pipeline that comes with the project, parsed."""
    return yaml.safe_load(find("segment_and_report", ".yaml").read_text())


def written(content, tmp_path):
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_prebuilt_pipeline_is_understood(golden, tmp_path):
    assert load(written(golden, tmp_path)).name == "segment-and-report"


def test_a_foreign_container_is_refused_by_name(golden, tmp_path):
    container = golden["deploymentSpec"]["executors"]["exec-load-folder"]["container"]
    container["image"], container["command"] = "busybox", ["sh", "-c"]
    with pytest.raises(EngineError, match="foreign container busybox"):
        load(written(golden, tmp_path))


def test_an_unknown_executor_is_refused_by_name(golden, tmp_path):
    golden["deploymentSpec"]["executors"]["exec-load-folder"] = {"importer": {"typeSchema": {}}}
    with pytest.raises(EngineError, match="importer"):
        load(written(golden, tmp_path))


def test_an_unknown_placeholder_is_refused_by_name(golden, tmp_path):
    golden["deploymentSpec"]["executors"]["exec-load-folder"]["container"]["args"].append("{{$.pipeline_job_uuid}}")
    with pytest.raises(EngineError, match="pipeline_job_uuid"):
        load(written(golden, tmp_path))


def test_an_unknown_condition_is_refused_by_name(golden, tmp_path):
    golden["root"]["dag"]["tasks"]["condition-1"]["triggerPolicy"]["condition"] = "size(inputs) > 3"
    with pytest.raises(EngineError, match="size"):
        load(written(golden, tmp_path))


def test_a_loop_over_artifacts_is_refused_by_name(golden, tmp_path):
    golden["root"]["dag"]["tasks"]["select-series"]["artifactIterator"] = {
        "itemInput": "x",
        "items": {"inputArtifact": "y"},
    }
    with pytest.raises(EngineError, match="loop over artifacts"):
        load(written(golden, tmp_path))


def test_what_is_no_ir_is_refused(golden, tmp_path):
    golden["root"]["surprise"] = 1
    with pytest.raises(EngineError, match="no valid pipeline"):
        load(written(golden, tmp_path))


VALUES = {"pipelinechannel--n": 3, "pipelinechannel--verdict": "blessed", "pipelinechannel--flag": True}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("{V} == 'blessed'", True),
        ("{V} != 'blessed'", False),
        ("int({N}) > 2", True),
        (
            "int({N}) > 2 && {N} < 3",
            False,
        ),
        (
            "!({N} == 3) || {N} >= 3",
            True,
        ),
        ("{F} == true", True),
        ("{V} == 'a && b'", False),
    ],
)
def test_conditions_mean_what_they_say(condition, holds):
    names = {"{N}": "n", "{V}": "verdict", "{F}": "flag"}
    for short, name in names.items():
        condition = condition.replace(short, f"inputs.parameter_values['pipelinechannel--{name}']")
    assert check(condition)
    assert evaluate(condition, VALUES) is holds


@pytest.mark.parametrize(
    "condition", ["__import__('os')", "open('x')", "inputs.x", "[1][0] == 1", "(lambda: 1)()", "a b"]
)
def test_nothing_else_is_a_condition(condition):
    assert not check(condition)
