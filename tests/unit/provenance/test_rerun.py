"""A run is done again from its record; whatever is not as it was is named."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from pydicom import dcmread

from claimed_med import lineage
from claimed_med.errors import ContractError, InputError, OutputError
from claimed_med.provenance import runfile
from claimed_med.provenance.rerun import Order, rerun
from claimed_med.provenance.rerun import _start as start

from .conftest import CHAIN, PARTS, claimed_med


def verdicts(done):
    return {one.place: one.verdict for one in done.outputs}


def named(done):
    return {(one.place, one.what) for one in done.conditions}


@pytest.fixture
def again(parts, tmp_path):
    """A function that runs again: (run, order) -> Rerun."""
    return lambda run, **order: rerun(run, tmp_path / "again", Order(**order))


def test_a_pipeline_is_done_again_from_its_folder_alone(chain, again):
    done = again(chain[0])
    assert done.is_reproduced
    assert done.reused == ["make-table"]
    ports = ("grown", "n_lines")
    places = [f"{task}/{port}" for task in ("count-lines", "condition-1/count-lines-2") for port in ports]
    assert verdicts(done) == dict.fromkeys(places, "identical")
    assert done.conditions == []


def test_a_place_that_holds_something_is_refused(chain, again, tmp_path):
    with pytest.raises(OutputError, match="holds something"):
        rerun(chain[0], chain[0], Order())
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "note.txt").touch()
    with pytest.raises(OutputError, match="holds something"):
        again(chain[0])


def test_with_its_place_given_again_everything_runs(chain, again):
    done = again(chain[0], given={"path": str(chain[1])})
    assert (done.is_reproduced, done.reused) == (True, [])
    assert "make-table/table" in verdicts(done)


def test_another_input_is_named_and_so_is_the_cell(chain, again, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("a\n1\n7\n")
    done = again(chain[0], given={"path": str(other)})
    assert not done.is_reproduced
    assert ("make-table/table", "locations.path") in named(done)
    told = next(one for one in done.outputs if one.place == "make-table/table")
    assert "column a, row 1" in told.text


def test_a_difference_within_the_tolerance_is_equal(chain, again, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("a\n1\n3\n")
    done = again(chain[0], given={"path": str(other)}, tolerance=1.0)
    assert done.is_reproduced
    assert verdicts(done)["make-table/table"] == "equal"


def test_a_changed_setting_is_named_twice(chain, again):
    done = again(chain[0], given={"n_more": "4"})
    assert ("", "parameters.n_more") in named(done)
    assert ("count-lines/grown", "settings.n_more") in named(done)
    assert verdicts(done)["count-lines/n_lines"] == "different"


def test_a_setting_altered_in_the_record_is_named(chain, again):
    path = chain[0] / "count-lines" / "grown" / "lineage.json"
    content = json.loads(path.read_text())
    content["settings"]["n_more"] = 5
    path.write_text(json.dumps(content))
    assert ("count-lines/grown", "settings.n_more") in named(again(chain[0]))


def test_an_altered_file_that_is_taken_over_is_named(chain, again):
    path = chain[0] / "make-table" / "table" / "table.parquet"
    pd.DataFrame({"a": [1, 9]}).to_parquet(path)
    done = again(chain[0])
    assert ("make-table/table/table.parquet", "changed") in named(done)
    assert not done.is_reproduced


def test_another_component_version_is_named(chain, again, monkeypatch, tmp_path):
    newer = tmp_path / "newer"
    shutil.copytree(PARTS, newer)
    file = newer / "count_lines.py"
    file.write_text(file.read_text().replace('version="1.0.0"', 'version="1.1.0"'))
    monkeypatch.setenv("CLAIMED_MED_COMPONENTS", str(newer))
    found = next(one for one in again(chain[0]).conditions if one.what == "version" and one.place == "count-lines")
    assert (found.old, found.new) == ("1.0.0", "1.1.0")


def test_a_missing_component_is_named_and_nothing_runs(chain, again, monkeypatch, tmp_path):
    monkeypatch.setenv("CLAIMED_MED_COMPONENTS", str(tmp_path))
    with pytest.raises(ContractError, match="exit code 2"):
        again(chain[0])


def test_another_engine_needs_every_place(chain, again):
    with pytest.raises(InputError, match="add --set path=PLACE"):
        again(chain[0], engine="slurm")


def test_an_unknown_parameter_is_refused(chain, again):
    with pytest.raises(ContractError, match=r"unknown parameter; got nonsense; allowed n_more, path"):
        again(chain[0], given={"nonsense": "1"})


@pytest.mark.parametrize(
    ("order", "told"),
    [
        (
            {"inputs": {"table": "t"}},
            "--input is for a run of one component; this is a pipeline; allowed --set n",
        ),
        ({"platform": "site.toml"}, "--platform is of the other engines"),
    ],
)
def test_what_a_pipeline_would_not_heed_is_refused(chain, again, order, told):
    with pytest.raises(ContractError, match=told):
        again(chain[0], **order)


@pytest.mark.parametrize(
    ("order", "told"),
    [
        ({"given": {"nonsense": "1"}}, "unknown setting; got nonsense; allowed min_lung_ml, threshold_hu"),
        ({"inputs": {"volume": "x"}}, "unknown input; got volume; allowed series"),
        ({"engine": "slurm"}, "--engine and --platform are of pipelines; this is a run of one component"),
        ({"platform": "site.toml"}, "--engine and --platform are of pipelines; this is a run of one component"),
        ({"given": {"threshold_hu": "high"}}, "threshold_hu"),
    ],
)
def test_what_a_component_would_not_heed_is_refused(study, again, order, told):
    with pytest.raises(ContractError, match=told):
        again(study / "segment-lungs", **order)


def test_a_changed_setting_of_a_component_is_named(study, again):
    done = again(study / "segment-lungs", given={"threshold_hu": "-500"})
    assert ("segmentation", "settings.threshold_hu") in named(done)
    assert verdicts(done) == {"segmentation": "different"}


def test_several_runs_are_not_taken_for_one(study, again):
    with pytest.raises(InputError, match=r"several runs.*got load-folder, measure-segments, segment-lungs; name one"):
        again(study)


@pytest.mark.parametrize("tolerance", [-1.0, float("nan"), float("inf")])
def test_a_tolerance_that_is_no_distance_is_refused(tolerance):
    with pytest.raises(ContractError, match="--tolerance is out of range"):
        Order(tolerance=tolerance)


def test_the_platform_reaches_the_engine(chain, again, tmp_path):
    site = tmp_path / "site.toml"
    site.write_text("nonsense = 1\n")
    with pytest.raises(ContractError, match=r"exit code 2: platform: unknown keys; got nonsense"):
        again(chain[0], given={"path": str(chain[1])}, engine="slurm", platform=site)


def test_a_run_that_fails_again_is_of_the_class_of_its_exit_code(chain, again, tmp_path):
    with pytest.raises(InputError, match=r"exit code 3"):
        again(chain[0], given={"path": str(tmp_path / "absent.csv")})


def test_an_output_that_could_not_be_written_again_is_of_its_class_too(tmp_path):
    (tmp_path / "key").touch()
    with pytest.raises(OutputError, match=r"exit code 7: lineage key"):
        start(["lineage", "key", str(tmp_path / "key")], {})


def test_a_changed_package_is_named(tmp_path):
    """The version of an installed package, as the environment shows it, goes from 1 to 2."""
    source = tmp_path / "t.csv"
    source.write_text("a\n1\n")
    for version in ("1.0", "2.0"):
        (tmp_path / version / f"planted_package-{version}.dist-info").mkdir(parents=True)
    words = ("pipeline", "run", CHAIN, "--set", f"path={source}", "--no-cache", "--out", tmp_path / "run")
    assert claimed_med(*words, PYTHONPATH=tmp_path / "1.0")[0] == 0
    words = ("lineage", "rerun", tmp_path / "run", "--verify", "--json")
    code, told = claimed_med(*words, PYTHONPATH=tmp_path / "2.0")
    done = json.loads(told)
    assert (code, done["reproduced"]) == (0, True)
    assert {(one["what"], one["old"], one["new"]) for one in done["conditions"]} == {
        ("package planted-package", '"1.0"', '"2.0"')
    }


def test_changed_weights_are_named_and_the_result_differs(tmp_path):
    (tmp_path / "site").mkdir()
    module = tmp_path / "site" / "site_weights.py"
    module.write_text(
        "import hashlib, pathlib\n"
        "FILE = pathlib.Path(__file__).with_name('weights.txt')\n"
        "def weight():\n    return float(FILE.read_text())\n"
        "def digest():\n    return hashlib.sha256(FILE.read_bytes()).hexdigest()\n"
    )
    weights = tmp_path / "site" / "weights.txt"
    weights.write_text("2")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "table.csv").write_text("a\n1\n2\n")
    given = {"PYTHONPATH": tmp_path / "site"}
    out = tmp_path / "out"
    assert claimed_med("run", "weigh-rows", "--table", tmp_path / "t", "--out", out, **given)[0] == 0
    words = ("lineage", "rerun", out, "--verify", "--input", f"table={tmp_path / 't'}")
    assert claimed_med(*words, **given)[0] == 0
    weights.write_text("3")
    code, told = claimed_med(*words, **given)
    assert code == 7
    assert "weigh-rows: weights: " in told
    assert "product: 4.0 became 6.0" in told


def test_a_component_needs_its_input_named_when_nobody_knows_where_it_is(study, tmp_path):
    shutil.move(study / "segment-lungs", tmp_path / "alone")
    with pytest.raises(InputError, match=r"add --input series=FOLDER"):
        rerun(tmp_path / "alone", tmp_path / "again", Order())


@pytest.mark.parametrize("content", ["no JSON", "[]", '{"schema": "another"}'])
def test_a_damaged_record_next_door_is_no_obstacle(study, tmp_path, content):
    (tmp_path / "next door").mkdir()
    (tmp_path / "next door" / "lineage.json").write_text(content)
    (study / "damaged" / "port").mkdir(parents=True)
    (study / "damaged" / "port" / "lineage.json").write_text(content)
    assert rerun(study / "measure-segments", tmp_path / "again", Order()).is_reproduced


def test_a_component_finds_its_inputs_beside_itself(study, tmp_path):
    done = rerun(study / "measure-segments", tmp_path / "again", Order())
    assert (done.is_reproduced, done.conditions) == (True, [])


def test_one_port_can_be_named_too(study, tmp_path):
    done = rerun(study / "segment-lungs" / "segmentation", tmp_path / "again", Order())
    assert verdicts(done) == {"segmentation": "identical"}


def test_a_changed_pixel_of_the_input_is_named(study, tmp_path):
    path = sorted((study / "load-folder" / "collection").glob("*.dcm"))[12]
    dataset = dcmread(path)
    pixels = dataset.pixel_array.copy()
    pixels[30:50, 30:50] = 0
    dataset.PixelData = pixels.astype(np.int16).tobytes()
    dataset.save_as(path)
    done = rerun(study / "segment-lungs", tmp_path / "again", Order())
    assert any(what.startswith("input.series") for _, what in named(done))
    (told,) = done.outputs
    assert told.verdict == "different"


def test_the_run_file_holds_no_place(chain):
    text = (chain[0] / runfile.NAME).read_text()
    assert "DOE_JANE" not in text
    assert str(chain[0].parent.parent) not in text
    told = runfile.read(chain[0])
    assert told.withheld == {"path": "location"}
    assert told.parameters == {"n_more": 3}
    assert told.is_whole()
    assert told.packages["pydicom"] == lineage.installed_versions()["pydicom"]
