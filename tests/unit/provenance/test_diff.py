from __future__ import annotations

import json
import shutil

import pytest

from claimed_med.errors import InputError
from claimed_med.provenance.diff import diff


def test_a_run_does_not_differ_from_itself(chain):
    assert diff(chain[0], chain[0]) == []


def test_settings_inputs_environment_and_tasks_are_named(chain, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(chain[0], other)
    path = other / "count-lines" / "grown" / "lineage.json"
    content = json.loads(path.read_text())
    content["settings"]["n_more"] = 9
    content["units"][0]["inputs"]["table"]["digest"] = "0" * 64
    content["environment"]["versions"]["pydicom"] = "0.1"
    content["environment"]["started"] = "another time"
    content["payload"] = "1" * 64
    path.write_text(json.dumps(content))
    shutil.rmtree(other / "make-table")
    found = {(one.place, one.what): (one.old, one.new) for one in diff(chain[0], other)}
    assert found["count-lines/grown", "settings.n_more"] == ("3", "9")
    assert ("count-lines/grown", "input.table") in found
    assert found["count-lines/grown", "versions.pydicom"][1] == '"0.1"'
    assert ("count-lines/grown", "output") in found
    assert found["make-table/table", "task"] == ("is there", "missing")
    assert not [what for _, what in found if "started" in what]


def test_a_folder_without_records_is_refused(tmp_path, chain):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no lineage\.json"):
        diff(chain[0], tmp_path / "empty")
