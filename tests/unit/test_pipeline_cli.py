from __future__ import annotations

import json

import pytest

from claimed_med import pipeline_cli
from claimed_med.cli import main
from claimed_med.engines.ir import load
from claimed_med.targets.plan import SKIPPED

FOUND = "int(inputs.parameter_values['found']) > 0"


@pytest.mark.parametrize(
    ("condition", "values", "code"),
    [
        (FOUND, ["found=1"], 0),
        (FOUND, ["found=0"], SKIPPED),
        ("inputs.parameter_values['verdict'] == 'blessed'", ["verdict=blessed"], 0),
        ("inputs.parameter_values['verdict'] == 'blessed'", ["verdict=a=b"], SKIPPED),
        (f"({FOUND}) && (inputs.parameter_values['on'] == true)", ["found=2", "on=true"], 0),
        (FOUND, ["found=many"], 3),
        ("inputs.parameter_values['found'] > 0", ["found=1"], 3),
        ("-inputs.parameter_values['found'] > 0", ["found=1"], 3),
        (FOUND, [], 2),
        (FOUND, ["found"], 2),
        ("__import__('os').getcwd()", [], 2),
    ],
)
def test_a_condition_is_told_by_the_exit_code(condition, values, code):
    assert main(["pipeline", "when", condition, *values]) == code


@pytest.mark.parametrize(("found", "holds"), [("1", True), ("0", False)])
def test_a_condition_is_told_as_json(found, holds, capsys):
    assert main(["pipeline", "when", "--json", FOUND, f"found={found}"]) == 0
    assert json.loads(capsys.readouterr().out) == {"holds": holds}


def test_a_target_is_printed_or_written(tmp_path, capsys):
    words = ["pipeline", "compile", "segment_and_report", "--target", "slurm"]
    assert main(words) == 0
    assert main([*words, "--out", str(tmp_path / "script.sh")]) == 0
    assert capsys.readouterr().out == (tmp_path / "script.sh").read_text()


def test_catalogues_of_every_category_are_written(tmp_path, capsys):
    assert main(["pipeline", "catalog", "--data", str(tmp_path)]) == 0
    written = {path.stem for path in (tmp_path / "metadata" / "component-catalogs").iterdir()}
    assert {"claimed_med_predict", "claimed_med_checkpoint", "claimed_med_analyze"} <= written
    assert main(["pipeline", "catalog", "--data", str(tmp_path), "--components", str(tmp_path)]) == 3


@pytest.mark.parametrize(("engine", "told"), [("airflow", "there is no Airflow"), ("slurm", "there is no sbatch")])
def test_an_engine_that_is_not_here_is_said(engine, told, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CLAIMED_MED_AIRFLOW", raising=False)
    words = ["--engine", engine, "--set", f"path={tmp_path / 'in'}", "--out", str(tmp_path / "out")]
    assert main(["pipeline", "run", "segment_and_report", *words]) == 4
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--engine", "slurm", "--isolation", "container"], "--isolation is of --engine local only"),
        (["--engine", "airflow", "--workers", "2"], "--workers is of --engine local only"),
        (["--platform", "site.toml"], "--platform is of the other engines"),
        (["--network-for", "load-folder"], "--network-for needs --isolation container"),
        (["--task", "load-folder"], "--reuse and --task go together"),
        (["--reuse", "."], "--reuse and --task go together"),
        (["--reuse", ".", "--task", "no-such-task"], "--reuse holds no outputs of this --task; got 'no-such-task'"),
        (["--workers", "-1"], "--workers is out of range"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(options, told, tmp_path, capsys):
    words = ["--set", f"path={tmp_path / 'in'}", "--out", str(tmp_path / "out"), *options]
    assert main(["pipeline", "run", "segment_and_report", *words]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("target", ["kubeflow", "airflow", "slurm", "argo", "cwl", "k8s-job"])
def test_a_parameter_of_another_name_or_type_is_refused_for_every_target(target, capsys):
    words = ["pipeline", "compile", "segment_and_report", "--target", target]
    assert main([*words, "--set", "nonsense=1"]) == 2
    assert "unknown parameter; got nonsense; allowed ct_rule, min_slices, mr_rule, path" in capsys.readouterr().err
    assert main([*words, "--set", "min_slices=many"]) == 2
    assert "parameter min_slices must be a number integer; got 'many'" in capsys.readouterr().err


def test_what_is_set_becomes_the_default_of_a_pipeline_for_kubeflow(tmp_path):
    words = ["pipeline", "compile", "segment_and_report", "--target", "kubeflow", "--set", "min_slices=7"]
    assert main([*words, "--out", str(tmp_path / "made.yaml")]) == 0
    assert load(tmp_path / "made.yaml", foreign=True).parameters()["min_slices"]["defaultValue"] == 7


@pytest.mark.parametrize(("content", "code"), [("", 7), (None, 0)])
def test_a_compiled_pipeline_that_is_out_of_date_is_a_difference(content, code, tmp_path):
    target = pipeline_cli.find("segment_and_report", ".yaml")
    (tmp_path / "made.yaml").write_text(target.read_text() if content is None else content)
    words = ["pipeline", "compile", "segment_and_report", "--check", "--out", str(tmp_path / "made.yaml")]
    assert main(words) == code


@pytest.mark.parametrize(
    ("text", "told"), [("# Pipelines\n\nA page.", "got SyntaxError in line 3"), ("nonsense", "got NameError")]
)
def test_a_file_that_is_no_python_is_not_compiled(text, told, tmp_path, capsys):
    (tmp_path / "page.py").write_text(text)
    assert main(["pipeline", "compile", str(tmp_path / "page.py")]) == 2
    assert f"the file cannot be loaded as Python; {told}" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--target", "cwl"]])
def test_a_place_where_no_file_can_be_is_refused(options, tmp_path, capsys):
    words = ["pipeline", "compile", "segment_and_report", *options, "--out"]
    assert main([*words, str(tmp_path / "absent" / "made")]) == 3
    assert "--out names a file in a folder that is not there" in capsys.readouterr().err
    assert main([*words, str(tmp_path)]) == 7
    assert "cannot be written; got Is a directory" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [["--target", "slurm", "--check"], ["--set", "path=ct"]])
def test_compiling_refuses_options_that_do_not_go_together(options, capsys):
    assert main(["pipeline", "compile", "segment_and_report", *options]) == 2
    assert "--target" in capsys.readouterr().err


@pytest.mark.parametrize("out", [".", "run", "deep/run"])
def test_a_run_folder_in_what_goes_in_is_refused(out, tmp_path, capsys):
    words = ["--set", f"path={tmp_path}", "--out", str(tmp_path / out)]
    assert main(["pipeline", "run", "segment_and_report", *words]) == 2
    assert "--out lies in the folder of parameter path" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_parameter_that_is_a_long_text_is_taken_for_no_folder(tmp_path):
    assert not pipeline_cli._is_folder("name = 'limits'\n" * 1000)
    assert pipeline_cli._is_folder(str(tmp_path))
