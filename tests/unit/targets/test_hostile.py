"""Compiled pipelines of somebody else: what they say stays data in every form that we make of them."""

from __future__ import annotations

import copy
import subprocess

import pytest
import yaml

from claimed_med.engines.flatten import flatten
from claimed_med.engines.ir import load
from claimed_med.engines.render import render
from claimed_med.errors import EngineError
from claimed_med.pipeline_cli import find
from claimed_med.targets import platform

PIPELINE = "segment_and_report"


@pytest.fixture
def ir():
    """The compiled pipeline that comes with the project, parsed."""
    return yaml.safe_load(find(PIPELINE, ".yaml").read_text())


@pytest.fixture
def rendered(tmp_path):
    """A function that writes a parsed pipeline and renders it for a target."""

    def make(ir, target, summary="", site=None, **given):
        file = tmp_path / "hostile.yaml"
        file.write_text(yaml.safe_dump(ir))
        return render(target, file, summary, site or platform.Platform(), {"path": "x"} | given)

    return make


def constant(ir, text):
    """Let a setting of the first step be a text."""
    name = "load-folder"
    component = ir["components"][ir["root"]["dag"]["tasks"][name]["componentRef"]["name"]]
    component["inputDefinitions"]["parameters"]["path"] = {"parameterType": "STRING"}
    ir["root"]["dag"]["tasks"][name]["inputs"]["parameters"]["path"] = {"runtimeValue": {"constant": text}}


def submitted(script, folder):
    """Run a submit script with a program in place of Slurm's that takes every job; the jobs."""
    program = folder / "sbatch"
    program.write_text('#!/bin/sh\ncat >"$0.$$"; echo "$$"\n')
    program.chmod(0o755)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "RUN_FOLDER": str(folder / "run"), "SHARDS": "1"}
    done = subprocess.run(["bash", "-c", script], env=environment, cwd=folder, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
    return [path.read_text() for path in folder.glob("sbatch.*")]


def test_the_meaning_of_a_parameter_is_no_line_of_a_submit_script(ir, rendered, tmp_path):
    ir["root"]["inputDefinitions"]["parameters"]["path"]["description"] = "A folder.\ntouch here\u2028touch here"
    submitted(rendered(ir, "slurm", "What it does.\ntouch here"), tmp_path)
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize("end", ["END-OF-STEP", "EOF", "'"])
def test_a_constant_does_not_end_the_job_that_it_stands_in(ir, rendered, tmp_path, end):
    constant(ir, f"x\n{end}\ntouch here\n")
    jobs = submitted(rendered(ir, "slurm"), tmp_path)
    assert not (tmp_path / "here").exists()
    assert sum("touch here" in job for job in jobs) == 1


@pytest.mark.parametrize("odd", ["a$(touch here)", "a b", "a;b", 'a"b', "a`b`", "a\nb", "../a", "a/b", "-a", ".a", ""])
def test_odd_names_are_refused_by_name(ir, rendered, odd):
    changed = copy.deepcopy(ir)
    changed["root"]["dag"]["tasks"][odd] = changed["root"]["dag"]["tasks"].pop("load-folder")
    with pytest.raises(EngineError, match="must be plain"):
        rendered(changed, "slurm")
    changed = copy.deepcopy(ir)
    changed["pipelineInfo"]["name"] = odd
    with pytest.raises(EngineError, match="must be plain"):
        rendered(changed, "airflow")
    changed = copy.deepcopy(ir)
    outputs = changed["components"]["comp-load-folder"]["outputDefinitions"]["artifacts"]
    outputs[odd] = outputs.pop("collection")
    with pytest.raises(EngineError, match="must be plain"):
        rendered(changed, "slurm")


def test_an_odd_port_that_only_the_command_line_names_is_refused(ir, rendered):
    words = ir["deploymentSpec"]["executors"]["exec-load-folder"]["container"]["args"]
    words.append("")
    for word in ("{{$.outputs.artifacts['$(touch here)'].path}}", "{{$.outputs.artifacts['a\n$(touch here)'"):
        words[-1] = word
        with pytest.raises(EngineError, match=r"names that are not plain; got '.*touch here\)'"):
            rendered(ir, "slurm")


def test_a_parameter_that_is_no_variable_of_a_shell_is_refused(ir, tmp_path):
    ir["root"]["inputDefinitions"]["parameters"]["a-b.c"] = {"parameterType": "STRING", "defaultValue": "x"}
    file = tmp_path / "hostile.yaml"
    file.write_text(yaml.safe_dump(ir))
    with pytest.raises(EngineError, match="for parameters those of Python"):
        flatten(load(file))
