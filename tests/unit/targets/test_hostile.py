"""Compiled pipelines of somebody else: what they say stays data in every form that we make of them."""

from __future__ import annotations

import ast
import copy
import re
import subprocess
from pathlib import Path

import jinja2
import pytest
import yaml

from claimed_med import registry
from claimed_med.engines.flatten import flatten
from claimed_med.engines.ir import load
from claimed_med.engines.render import render
from claimed_med.errors import ContractError, EngineError
from claimed_med.pipeline_cli import find
from claimed_med.targets import platform, pytorchjob, shell
from claimed_med.targets.training_job import Platform

PIPELINE = "segment_and_report"
SITE = Path(__file__).parent / "golden" / "platform.toml"
ODD = "/a$$b/$(CLAIMED_MED_SECRET)/$$(X)$/{{workflow.name}}{{{7*7}}}{% endraw %}{{ 7*7 }}{% raw %}{# x #}'\"$HOME"


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


def in_pod(text):
    """A text of args or env as a container sees it: Kubernetes' rule, with a variable of the pod."""

    variables = {"CLAIMED_MED_SECRET": "SECRETWORD"}

    def seen(found):
        return "$" if found[0] == "$$" else variables.get(found[1], found[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", seen, text)


def words_of(script, folder):
    """The last words that a step's script gives to the program."""
    program = folder / "claimed-med"
    program.write_text('#!/bin/sh\nfor word; do printf "%s\\n" "$word"; done >words\n')
    program.chmod(0o755)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "RUN_FOLDER": str(folder), "HOME": "home"}
    subprocess.run(["sh", "-c", script], env=environment, cwd=folder, check=True)
    return (folder / "words").read_text().splitlines()


def _tasks(text, name):
    """The calls of an operator in a DAG file, by task: keyword -> node."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call) and node.keywords]
    told = [{one.arg: one.value for one in call.keywords} for call in calls]
    return next(one for one in told if "task_id" in one and one["task_id"].value == name)


@pytest.mark.parametrize("pods", [False, True])
def test_a_dag_file_hands_a_constant_on_as_it_is(ir, rendered, tmp_path, pods):
    constant(ir, ODD)
    text = rendered(ir, "airflow", site=platform.load(SITE) if pods else None)
    told = _tasks(text, "load-folder")
    (script,) = ast.literal_eval(told["arguments"]) if pods else [ast.literal_eval(told["bash_command"])]
    shown = jinja2.Environment(autoescape=False).from_string(script).render()  # noqa: S701 - as Airflow does it
    words = words_of(in_pod(shown) if pods else shown, tmp_path)
    assert words[words.index("--path") + 1] == ODD


@pytest.mark.parametrize("pods", [False, True])
def test_a_parameter_that_is_given_at_run_time_stays_as_it_is_in_a_pod(ir, rendered, pods):
    tree = ast.parse(rendered(ir, "airflow", site=platform.load(SITE) if pods else None))
    made = {one.targets[0].id: one.value for one in tree.body if isinstance(one, ast.Assign)}
    told = ast.literal_eval(made["ENVIRONMENT"])
    shown = jinja2.Environment(autoescape=False).from_string(told["PARAMETER_path"]).render(params={"path": ODD})  # noqa: S701
    assert (in_pod(shown) if pods else shown) == ODD


def test_what_a_pipeline_does_is_no_line_of_a_dag_file(ir, rendered):
    summary = '""" + str(7*7) + """ \\""" x\nimport os'
    tree = ast.parse(rendered(ir, "airflow", summary))
    assert ast.get_docstring(tree).startswith('segment-and-report: """ + str(7*7) + """ \\""" x import os\n')
    assert "os" not in {name.name for node in tree.body if isinstance(node, ast.Import) for name in node.names}


def test_a_template_of_argo_hands_a_constant_on_as_it_is(ir, rendered, tmp_path):
    constant(ir, ODD)
    made = yaml.safe_load(rendered(ir, "argo"))
    container = next(one for one in made["spec"]["templates"] if one["name"] == "load-folder")["container"]
    assert "{{" not in container["args"][0], "Argo would fill it in"
    words = words_of(in_pod(container["args"][0]), tmp_path)
    assert words[words.index("--path") + 1] == ODD
    environment = {one["name"]: one.get("value") for one in container["env"]}
    assert environment["PARAMETER_path"] == "{{=sprig.replace('$', '$$', workflow.parameters['path'])}}"


def test_a_default_that_argo_would_fill_in_is_refused(ir, rendered):
    with pytest.raises(ContractError, match=r"Argo would fill in the default; got \{\{ in path"):
        rendered(ir, "argo", path="{{workflow.name}}")


def test_a_job_gets_a_setting_as_it_is(ir, rendered):
    (container,) = yaml.safe_load(rendered(ir, "k8s-job", path=ODD))["spec"]["template"]["spec"]["containers"]
    assert f"path={ODD}" in [in_pod(word) for word in container["args"]]


def test_a_training_job_gets_a_setting_as_it_is():
    contract = registry.get("train-classifier").contract
    setting = next(one.name for one in contract.settings if one.type is str)
    made = yaml.safe_load(pytorchjob.render(contract, settings={setting: ODD}, platform=Platform()))
    (container,) = made["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"]
    assert ODD in [in_pod(word) for word in container["args"]]


def test_commands_of_steps_mean_the_same_in_a_pod(ir, rendered, tmp_path):
    file = tmp_path / "plain.yaml"
    file.write_text(yaml.safe_dump(ir))
    steps = {step.place.replace("/", "-"): step for step in flatten(load(file)).steps}
    for template in yaml.safe_load(rendered(ir, "argo"))["spec"]["templates"][1:]:
        assert shell.command(steps[template["name"]]) in in_pod(template["container"]["args"][0])
