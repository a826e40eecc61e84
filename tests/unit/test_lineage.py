from __future__ import annotations

import json

import pytest

from claimed_med import lineage, registry
from claimed_med.errors import InputError


@pytest.fixture
def contract(parts):
    return registry.get("count-rows").contract


def settings(contract, **changed):
    return {one.name: one.default for one in contract.settings} | changed


def test_the_identity_depends_on_all_that_decides_the_bytes_and_on_nothing_else(contract):
    base = lineage.identity(contract, settings(contract), {"table": "d1"}, "w1", {})
    assert lineage.identity(contract, settings(contract), {"table": "d1"}, "w1", {}) == base
    changed = [
        lineage.identity(contract, settings(contract, refuse_rows=7), {"table": "d1"}, "w1", {}),
        lineage.identity(contract, settings(contract), {"table": "d2"}, "w1", {}),
        lineage.identity(contract, settings(contract), {"table": "d1"}, "w2", {}),
        lineage.identity(contract, settings(contract), {"table": "d1"}, "w1", {"notes": "d"}),
    ]
    assert len({base, *changed}) == 5


def test_a_location_is_never_recorded(contract):
    given = settings(contract, notes="/archive/DOE_JANE")
    assert "notes" not in lineage.recorded_settings(contract, given)
    assert lineage.identity(contract, given, {}, "", {}) == lineage.identity(contract, settings(contract), {}, "", {})


def test_a_record_survives_its_file(tmp_path):
    record = lineage.Record("a", "1", "out", {"x": 1}, units=[lineage.UnitRecord("k", "done", "i")])
    (tmp_path / "lineage.json").write_text(record.to_json())
    assert lineage.read(tmp_path) == record


def test_a_record_is_written_with_a_line_for_every_file_unit_and_ancestor():
    files = {f"1.2.{number}.dcm": {"sha256": f"{number}" * 64, "sop_uid": f"1.2.{number}"} for number in range(3)}
    units = [lineage.UnitRecord(f"k{number}", "done", "i", {"p": {"digest": "d"}}) for number in range(2)]
    parent = lineage.Record("a", "1", "out", {"words": ["\u00e4", "\u2028"], "none": {}})
    record = lineage.Record("b", "1", "out", {"low": 1e-7}, units=units).with_files(files)
    record.adopt("p", parent)
    text = record.to_json()
    assert json.loads(text) == record.as_dict()
    assert text.isascii()
    lines = text.splitlines()
    assert sum(line.startswith(' "1.2.') for line in lines) == 3
    assert sum(line.startswith(' {"identity"') for line in lines) == 2
    assert [line for line in lines if '"component": "a"' in line] == [f' "{parent_name(record)}": ' + one_line(parent)]


def parent_name(record):
    return record.parents["p"]


def one_line(record):
    return json.dumps(record.as_dict(), sort_keys=True)


def test_a_record_of_another_kind_is_refused(tmp_path):
    (tmp_path / "lineage.json").write_text('{"schema": "other/9"}')
    with pytest.raises(InputError, match="unknown version"):
        lineage.read(tmp_path)
    (tmp_path / "lineage.json").write_text("not JSON")
    with pytest.raises(InputError, match="cannot be read"):
        lineage.read(tmp_path)


def test_ancestors_are_carried_once_and_under_their_own_digest():
    first = lineage.Record("a", "1", "out", {})
    second, third = lineage.Record("b", "1", "out", {}), lineage.Record("c", "1", "out", {})
    second.adopt("in", first)
    third.adopt("left", second)
    third.adopt("right", first)
    assert set(third.ancestors) == {first.digest(), second.digest()}
    assert lineage.Record.from_dict(third.ancestors[second.digest()]).digest() == second.digest()


def test_a_stray_record_above_a_raw_folder_is_not_taken_for_its_own(tmp_path):
    (tmp_path / "lineage.json").write_text(lineage.Record("a", "1", "out", {}).to_json())
    (tmp_path / "raw").mkdir()
    assert lineage.read(tmp_path / "raw") is None


def test_a_result_that_is_saved_from_python_is_found_by_its_uids(tmp_path):
    import claimed_med as cm
    from claimed_med.testing import phantoms

    phantoms.write("chest_ct", tmp_path / "ct")
    saved = cm.segment_lungs(cm.DicomSeries(tmp_path / "ct")).save(tmp_path / "lungs")
    record = lineage.read(saved)
    (told,) = record.files.values()
    assert told["sop_uid"].startswith("2.25.")
    assert told["series_uid"].startswith("2.25.")
    assert record.units[0].inputs["series"]["series_uids"]
    assert len(record.units[0].inputs["series"]["patients"]) == 1
