from __future__ import annotations

import json

import pytest

from claimed_med.cli import COMMANDS, main


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)


def test_an_unknown_command_is_told_what_there_is(capsys):
    assert main(["lst"]) == 2
    assert "there is no command 'lst'" in capsys.readouterr().err


def test_list_as_json_holds_whole_contracts(parts, capsys):
    assert main(["list", "--json", "--category", "local"]) == 0
    listed = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert listed["copy-table"]["settings"][0]["range"] == [1, 5]
    assert {one["category"] for one in listed.values()} == {"local"}


def test_show_prints_the_contract_as_a_page(parts, capsys):
    assert main(["show", "count-rows"]) == 0
    shown = capsys.readouterr().out
    assert "--pause-s float in [0, 60] s (default 0.0)" in shown
    assert "over each series" in shown


def test_show_of_an_unknown_component_is_a_contract_error(parts, capsys):
    assert main(["show", "count-row"]) == 2
    assert "did you mean count-rows" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["lineage", "verify"], ["lineage", "show"]])
def test_lineage_of_a_folder_without_records_is_an_input_error(words, tmp_path, capsys):
    assert main([*words, str(tmp_path)]) == 3
    assert "error: lineage" in capsys.readouterr().err


def test_lineage_verify_fails_with_the_name_of_the_changed_file(parts, table, tmp_path, capsys):
    main(["run", "copy-table", "--table", str(table), "--out", str(tmp_path / "out")])
    assert main(["lineage", "verify", str(tmp_path / "out")]) == 0
    (tmp_path / "out" / "copied" / "table.parquet").write_text("a\n")
    capsys.readouterr()
    assert main(["lineage", "verify", str(tmp_path / "out")]) == 7
    assert "copied/table.parquet" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["pipeline", "catalog", "--data", str(tmp_path / "file")]) == 7
    shown = capsys.readouterr().err
    assert "cannot be written; got Not a directory" in shown
    assert shown.count("\n") == 1
