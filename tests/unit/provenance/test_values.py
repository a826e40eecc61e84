"""Values, the text files beside the ports, are vouched for by the records of those ports, as files are."""

from __future__ import annotations

import hashlib
import json

import pytest

from claimed_med import cli, lineage
from claimed_med.provenance import crate
from claimed_med.provenance.diff import diff
from claimed_med.provenance.index import build
from claimed_med.provenance.rerun import Order, rerun
from claimed_med.provenance.rows import rows_of
from claimed_med.provenance.verify import verify

from .conftest import PARTS

VALUE = "count-lines/n_lines"


def found(folder):
    return [(one.kind, one.name) for one in verify(folder)[1]]


def run(*words):
    return cli.main(["run", *map(str, words)])


def test_the_record_names_every_value_by_its_digest(chain):
    record = lineage.read(chain[0] / "count-lines" / "grown")
    content = (chain[0] / VALUE).read_bytes()
    assert record.values == {"n_lines": hashlib.sha256(content).hexdigest()}
    assert "values" not in record.environment
    assert "values" not in json.loads((chain[0] / "make-table" / "table" / "lineage.json").read_text())


def test_a_value_that_was_changed_removed_renamed_or_added_is_named(chain):
    folder, value = chain[0], chain[0] / VALUE
    n_files, changes = verify(folder)
    assert changes == []
    text = value.read_text()
    value.write_text("7")
    assert verify(folder) == (n_files, verify(folder)[1])
    assert found(folder) == [("changed", VALUE)]
    value.unlink()
    assert found(folder) == [("missing", VALUE)]
    (value.parent / "n_rows").write_text(text)
    assert found(folder) == [("renamed", VALUE)]
    value.write_text(text)
    assert found(folder) == [("added", "count-lines/n_rows")]


def test_values_of_two_tasks_that_were_exchanged_are_named(chain):
    one, other = chain[0] / VALUE, chain[0] / "condition-1/count-lines-2/n_lines"
    texts = one.read_text(), other.read_text()
    assert texts[0] != texts[1]
    one.write_text(texts[1])
    other.write_text(texts[0])
    assert sorted(found(chain[0])) == [("changed", "condition-1/count-lines-2/n_lines"), ("changed", VALUE)]


def test_a_port_alone_needs_no_value_and_another_name_of_the_port_is_followed(chain, tmp_path):
    task = chain[0] / "count-lines"
    (task / "grown").rename(tmp_path / "count.grown")
    assert verify(tmp_path / "count.grown")[1] == []
    assert ("missing", "count.n_lines") in found(tmp_path)
    (task / "n_lines").rename(tmp_path / "count.n_lines")  # as a CWL runner collects them
    assert [one for one in found(tmp_path) if one[1].startswith("count.")] == []


def test_a_value_that_was_put_elsewhere_is_recorded_and_not_missed(chain, parts, tmp_path):
    table = chain[0] / "make-table" / "table"
    places = ("--grown", tmp_path / "o" / "grown", "--n-lines", tmp_path / "o" / "rows.txt")
    assert run("count-lines", "--table", table, "--n-more", 3, *places) == 0
    record = lineage.read(tmp_path / "o" / "grown")
    assert record.values == lineage.read(chain[0] / "count-lines" / "grown").values
    assert record.environment["values"] == "apart"
    assert found(tmp_path / "o") == []


def test_a_changed_value_is_made_again_when_a_run_is_resumed(chain, parts, tmp_path):
    words = ("count-lines", "--table", chain[0] / "make-table" / "table", "--out", tmp_path / "o")
    assert run(*words) == 0
    kept = (tmp_path / "o" / "grown" / "lineage.json").stat().st_mtime_ns
    assert run(*words) == 0
    assert (tmp_path / "o" / "grown" / "lineage.json").stat().st_mtime_ns == kept
    (tmp_path / "o" / "n_lines").write_text("99")
    assert run(*words) == 0
    assert (tmp_path / "o" / "n_lines").read_text() == "2"
    assert found(tmp_path / "o") == []


def test_values_of_another_component_in_the_same_folder_are_not_taken_for_added(chain, tmp_path, monkeypatch):
    text = (PARTS / "count_lines.py").read_text()
    for old, new in (("count_lines", "tell_rows"), ("grown", "longer"), ("n_lines", "n_rows")):
        text = text.replace(old, new)
    for name, content in (("count_lines.py", (PARTS / "count_lines.py").read_text()), ("tell_rows.py", text)):
        (tmp_path / "both").mkdir(exist_ok=True)
        (tmp_path / "both" / name).write_text(content)
    monkeypatch.setenv("CLAIMED_MED_COMPONENTS", str(tmp_path / "both"))
    table = chain[0] / "make-table" / "table"
    assert run("count-lines", "--table", table, "--out", tmp_path / "o") == 0
    assert run("tell-rows", "--table", table, "--out", tmp_path / "o") == 0
    assert found(tmp_path / "o") == []


def test_a_rerun_compares_with_the_recorded_value_whatever_lies_there_now(chain, parts, tmp_path):
    (chain[0] / VALUE).write_text("7")
    done = rerun(chain[0], tmp_path / "again", Order())
    assert done.is_reproduced
    assert (VALUE, "changed") in {(one.place, one.what) for one in done.conditions}
    (chain[0] / VALUE).unlink()
    done = rerun(chain[0], tmp_path / "once more", Order(given={"n_more": "4"}))
    told = next(one for one in done.outputs if one.place == VALUE)
    assert told.verdict == "different"
    assert "not there" in told.text


def test_two_runs_differ_in_their_values(chain, parts, tmp_path):
    rerun(chain[0], tmp_path / "again", Order(given={"n_more": "4"}))
    told = [one for one in diff(chain[0], tmp_path / "again") if one.what == "values.n_lines"]
    assert [one.place for one in told] == ["condition-1/count-lines-2/grown", "count-lines/grown"]


@pytest.mark.parametrize("with_data", [False, True])
def test_a_crate_holds_together_and_a_value_changed_in_it_is_named(chain, tmp_path, with_data):
    crate.export(chain[0], tmp_path / "crate", with_data=with_data)
    crate.export(chain[0] / "count-lines", tmp_path / "part", with_data=with_data)
    assert (found(tmp_path / "crate"), found(tmp_path / "part")) == ([], [])
    (tmp_path / "crate" / VALUE).write_text("7")
    assert ("changed", VALUE) in found(tmp_path / "crate")


def test_records_without_values_are_as_they_were(chain, parts, tmp_path):
    """Written before there was the field: their names, digests and values beside them are still right."""
    for path in chain[0].rglob("lineage.json"):
        content = json.loads(path.read_text())
        content.pop("values", None)
        content["ancestors"] = {}
        content["parents"] = {}
        path.write_text(json.dumps(content))
    assert found(chain[0]) == []
    record = lineage.read(chain[0] / "count-lines" / "grown")
    assert lineage.Record.from_dict(record.as_dict() | {"values": {}}).digest() == record.digest()
    ((rows,), _) = rows_of((json.dumps(record.as_dict() | {"values": {}})).encode(), "/x")
    assert rows.digest == record.digest()
    done = rerun(chain[0], tmp_path / "again", Order())
    assert {one.place for one in done.outputs if one.verdict == "identical"} >= {VALUE}


@pytest.mark.parametrize("planted", [{"../../n": "0" * 64}, {"": "0" * 64}, ["n_lines"], "n_lines"])
def test_a_forged_list_of_values_reads_nothing_elsewhere(chain, planted):
    path = chain[0] / "condition-1/count-lines-2/grown/lineage.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"values": planted}))
    assert set(found(chain[0])) <= {("record", path.relative_to(chain[0]).as_posix())}


def test_the_index_takes_records_with_values(chain, tmp_path):
    built = build([chain[0]], str(tmp_path / "i"))
    assert (built.n_records, built.unreadable) == (3, ())
    path = chain[0] / "count-lines" / "grown" / "lineage.json"
    ((rows, *_), _) = rows_of(path.read_bytes(), "/x")
    assert rows.digest == lineage.read(path.parent).digest()


def test_a_result_in_memory_names_its_values_too(chain, parts):
    from claimed_med import registry
    from claimed_med.handles import Table

    result = registry.get("count-lines")(Table(chain[0] / "make-table" / "table"), n_more=3)
    assert result.grown.record.values == lineage.read(chain[0] / "count-lines" / "grown").values
