from __future__ import annotations

import json

import pandas as pd
import pytest

import claimed_med as cm
from claimed_med import lineage, registry
from claimed_med.payload import folder_digest
from claimed_med.provenance.trace import as_mermaid, as_table, trace
from claimed_med.provenance.verify import verify
from claimed_med.run import main


def run(table, out, *options):
    return main(["copy-table", "--table", str(table), "--out", str(out), *options])


def test_a_run_writes_payload_record_and_values(parts, table, tmp_path):
    assert run(table, tmp_path / "out", "--n-times", "2") == 0
    assert len(pd.read_parquet(tmp_path / "out" / "copied" / "table.parquet")) == 4
    assert (tmp_path / "out" / "n_rows").read_text() == "4"
    record = lineage.read(tmp_path / "out" / "copied")
    assert (record.component, record.settings) == ("copy-table", {"n_times": 2, "strict": False})


def test_every_output_may_have_a_place_of_its_own(parts, table, tmp_path):
    code = main(
        [
            "copy-table",
            "--table",
            str(table),
            "--copied",
            str(tmp_path / "x" / "c"),
            "--n-rows",
            str(tmp_path / "y" / "n"),
        ]
    )
    assert code == 0
    assert ((tmp_path / "x" / "c" / "table.parquet").is_file(), (tmp_path / "y" / "n").read_text()) == (True, "2")


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--n-times", "9"], 2, "n_times must lie in [1, 5]; got 9"),
        (["--n-times", "two"], 2, "got 'two'"),
        (["--strict", "perhaps"], 2, "true or false"),
    ],
)
def test_a_wrong_setting_is_named_and_nothing_is_written(parts, table, tmp_path, capsys, options, code, text):
    assert run(table, tmp_path / "out", *options) == code
    assert text in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_input_is_an_input_error(parts, tmp_path, capsys):
    assert run(tmp_path / "nowhere" / "DOE_JANE", tmp_path / "out") == 3
    assert "DOE_JANE" not in capsys.readouterr().err


def test_an_unknown_component_is_a_contract_error_with_a_suggestion(parts, capsys):
    assert main(["copy-tabel"]) == 2
    assert "did you mean copy-table" in capsys.readouterr().err


def test_the_same_run_gives_the_same_payload_elsewhere(parts, table, tmp_path):
    run(table, tmp_path / "a" / "out")
    run(table, tmp_path / "b" / "c" / "out")
    assert folder_digest(tmp_path / "a" / "out" / "copied") == folder_digest(tmp_path / "b" / "c" / "out" / "copied")


def test_a_finished_run_is_not_repeated(parts, table, tmp_path):
    run(table, tmp_path / "out")
    inode = (tmp_path / "out" / "copied").stat().st_ino
    assert run(table, tmp_path / "out") == 0
    assert (tmp_path / "out" / "copied").stat().st_ino == inode
    assert run(table, tmp_path / "out", "--n-times", "3") == 0
    assert (tmp_path / "out" / "n_rows").read_text() == "6"


def test_a_damaged_output_is_made_again(parts, table, tmp_path):
    run(table, tmp_path / "out")
    target = tmp_path / "out" / "copied" / "table.parquet"
    before = target.read_bytes()
    pd.DataFrame({"a": [99]}).to_parquet(target)
    assert run(table, tmp_path / "out") == 0
    assert target.read_bytes() == before


def test_no_value_of_an_earlier_run_is_left_beside_new_outputs(parts, table, tmp_path, monkeypatch):
    assert run(table, tmp_path / "out") == 0

    def killed(path, value):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("claimed_med.run._write_value", killed)
        assert run(table, tmp_path / "out", "--n-times", "3") != 0
    assert not (tmp_path / "out" / "n_rows").exists()
    assert run(table, tmp_path / "out", "--n-times", "3") == 0
    assert (tmp_path / "out" / "n_rows").read_text() == "6"


def test_a_call_in_python_gives_the_same_bytes_as_the_command_line(parts, table, tmp_path):
    run(table, tmp_path / "out", "--n-times", "2")
    result = cm.copy_table(cm.Table(table), n_times=2)
    result.copied.save(tmp_path / "saved")
    assert result.n_rows == 4
    assert folder_digest(tmp_path / "saved") == folder_digest(tmp_path / "out" / "copied")
    ours, theirs = lineage.read(tmp_path / "saved"), lineage.read(tmp_path / "out" / "copied")
    assert [unit.identity for unit in ours.units] == [unit.identity for unit in theirs.units]


def test_a_call_checks_ports_and_settings(parts, table):
    with pytest.raises(cm.ContractError, match="takes a Table; got Report"):
        cm.copy_table(cm.Report({}))
    with pytest.raises(cm.ContractError, match="got 0"):
        cm.copy_table()
    with pytest.raises(cm.ContractError, match="times"):
        cm.copy_table(cm.Table(table), times=2)


def test_saving_over_something_is_refused(parts, table):
    result = cm.copy_table(cm.Table(table))
    with pytest.raises(cm.OutputError):
        result.copied.save(table)


def test_the_way_back_leads_through_every_parent(parts, table, tmp_path):
    run(table, tmp_path / "one")
    run(tmp_path / "one" / "copied", tmp_path / "two", "--n-times", "2")
    found = trace(tmp_path / "two" / "copied" / "table.parquet")
    assert [step.record.settings["n_times"] for step in found.steps] == [2, 1]
    assert "n_times=2" in as_table(found)
    assert as_mermaid(found).count("-->") == 1
    assert json.loads(json.dumps(found.as_dict()))["steps"][0]["parents"]


@pytest.mark.parametrize("place", ["changed", "added", "missing", "record"])
def test_verify_names_every_change(parts, table, tmp_path, place):
    run(table, tmp_path / "one")
    run(tmp_path / "one" / "copied", tmp_path / "two")
    assert verify(tmp_path)[1] == []
    folder = tmp_path / "two" / "copied"
    if place == "changed":
        (folder / "table.parquet").write_text("a,b\n1,2\n3,5\n")
    elif place == "added":
        (folder / "more.csv").write_text("x")
    elif place == "missing":
        (folder / "table.parquet").unlink()
    else:
        text = (folder / "lineage.json").read_text()
        (folder / "lineage.json").write_text(text.replace('"n_times": 1', '"n_times": 2'))
    changes = verify(tmp_path)[1]
    assert {change.kind for change in changes} == {place}
    assert all(change.name.startswith("two/copied/") for change in changes)


def test_the_registry_finds_components_without_importing_them(parts):
    assert {"copy-table", "count-rows"} <= set(registry.names())


def test_an_output_without_a_place_is_a_contract_error(parts, table, capsys):
    assert main(["copy-table", "--table", str(table)]) == 2
    assert "--out FOLDER" in capsys.readouterr().err
