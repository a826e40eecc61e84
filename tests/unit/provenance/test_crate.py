from __future__ import annotations

import json

import pytest

from claimed_med.errors import InputError, OutputError
from claimed_med.provenance.crate import export
from claimed_med.provenance.rerun import Order, rerun
from claimed_med.provenance.verify import verify


def graph(folder):
    content = json.loads((folder / "ro-crate-metadata.json").read_text())["@graph"]
    return {one["@id"]: one for one in content}


def test_every_reference_leads_to_an_entity(chain, parts, tmp_path):
    n_entities = export(chain[0], tmp_path / "crate")
    found = graph(tmp_path / "crate")
    assert len(found) == n_entities

    def references(value):
        if isinstance(value, dict) and set(value) == {"@id"}:
            yield value["@id"]
        elif isinstance(value, dict | list):
            for one in value.values() if isinstance(value, dict) else value:
                yield from references(one)

    targets = {target for one in found.values() for target in references({**one, "@id": None})}
    assert targets - set(found) == {"https://w3id.org/ro/crate/1.1"}


def test_steps_tools_and_engine_tell_what_ran(chain, parts, tmp_path):
    export(chain[0], tmp_path / "crate")
    found = graph(tmp_path / "crate")
    steps = {one["name"] for one in found.values() if one["@type"] == "HowToStep"}
    assert steps == {"make-table", "count-lines", "condition-1/count-lines-2"}
    assert {one["@id"] for one in found["workflow.json"]["hasPart"]} == {"#tool-make-table", "#tool-count-lines"}
    assert found["#count-lines/setting/n_more"]["value"] == "3"
    assert found["#parameter-value/path"]["value"] == "withheld: a location"
    assert found["#organize"]["result"] == {"@id": "#run"}


def test_by_default_no_table_and_no_image_goes_along(study, tmp_path):
    export(study, tmp_path / "bare")
    export(study, tmp_path / "whole", with_data=True)
    endings = {path.suffix for path in (tmp_path / "bare").rglob("*") if path.is_file()}
    assert endings == {".json"}
    assert list((tmp_path / "whole").rglob("*.dcm"))
    assert verify(tmp_path / "bare")[1] == []
    assert verify(tmp_path / "whole")[1] == []


def test_a_crate_without_its_signature_still_names_what_changed(study, tmp_path):
    export(study, tmp_path / "crate", with_data=True)
    image = next((tmp_path / "crate").rglob("*.dcm"))
    image.write_bytes(image.read_bytes()[:-1] + b"x")
    (tmp_path / "crate" / "planted.txt").write_text("x")
    found = {(one.kind, one.name) for one in verify(tmp_path / "crate")[1]}
    assert ("changed", image.relative_to(tmp_path / "crate").as_posix()) in found
    assert ("added", "planted.txt") in found


@pytest.mark.parametrize("with_data", [True, False])
def test_a_crate_can_be_run_again_elsewhere(chain, parts, tmp_path, with_data):
    export(chain[0], tmp_path / "crate", with_data=with_data)
    given = {} if with_data else {"path": str(chain[1])}
    done = rerun(tmp_path / "crate", tmp_path / "again", Order(given=given))
    assert done.is_reproduced
    assert done.reused == (["make-table"] if with_data else [])


def test_a_crate_replaces_nothing(study, tmp_path):
    with pytest.raises(OutputError, match="exists already"):
        export(study, tmp_path)
    with pytest.raises(InputError, match=r"no lineage\.json"):
        export(tmp_path / "nowhere", tmp_path / "crate")


def test_a_crate_without_data_needs_its_source_again(chain, parts, tmp_path):
    export(chain[0], tmp_path / "crate")
    with pytest.raises(InputError, match=r"files of make-table/table are not in this folder; add --set path=PLACE"):
        rerun(tmp_path / "crate", tmp_path / "again", Order())
