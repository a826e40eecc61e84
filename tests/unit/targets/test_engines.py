from __future__ import annotations

import ast
import os
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import yaml

from claimed_med import registry
from claimed_med.engines.flatten import flatten
from claimed_med.engines.ir import load
from claimed_med.engines.kubeflow import with_platform
from claimed_med.engines.render import render
from claimed_med.errors import ContractError
from claimed_med.pipeline_cli import find, names
from claimed_med.targets import elyra, platform
from claimed_med.targets.kfp import render as component_yaml

GOLDEN = Path(__file__).parent / "golden"
PLATFORM = GOLDEN / "platform.toml"
PIPELINE = "segment_and_report"
TARGETS = {"airflow": "py", "slurm": "sh", "cwl": "cwl", "argo": "yaml", "k8s-job": "yaml", "kubeflow": "yaml"}


@pytest.fixture
def site():
    return platform.load(PLATFORM)


def _rendered(target, site, name=PIPELINE, **given):
    return render(target, find(name, ".yaml"), "What it does.", site, {"path": "/data/studies"} | given)


def _check_golden(text, file):
    if os.environ.get("CLAIMED_MED_WRITE_GOLDEN") == "1":
        file.write_text(text)
    assert text == file.read_text()


@pytest.mark.parametrize("target", TARGETS)
def test_pipelines_for_other_engines_are_the_golden_ones(target, site):
    _check_golden(_rendered(target, site), GOLDEN / f"{PIPELINE}.{target}.{TARGETS[target]}")


def test_airflow_without_a_namespace_runs_processes(site):
    _check_golden(_rendered("airflow", replace(site, namespace="")), GOLDEN / f"{PIPELINE}.airflow-bash.py")


def test_elyra_pipeline_is_the_golden_one():
    plan = flatten(load(find(PIPELINE, ".yaml")), "What it does.")
    contracts = {step.component: registry.get(step.component).contract for step in plan.steps}
    _check_golden(elyra.render(plan, contracts), GOLDEN / f"{PIPELINE}.pipeline")


@pytest.mark.parametrize("name", names())
def test_every_pipeline_has_a_form_for_every_engine(name):
    plan = flatten(load(find(name, ".yaml")))
    given = {one.name: "x" for one in plan.parameters if one.default is None}
    for target in TARGETS:
        text = render(target, find(name, ".yaml"), "", platform.Platform(), given)
        words = [step.component for step in plan.steps]
        assert target == "k8s-job" or all(word in text for word in words), target


@pytest.mark.parametrize("name", names())
def test_a_dag_file_is_python_and_a_submit_script_is_bash(name, site, tmp_path):
    source = find(name, ".yaml")
    ast.parse(render("airflow", source, "", site))
    script = tmp_path / "script.sh"
    script.write_text(render("slurm", source, "", site))
    assert subprocess.run(["bash", "-n", script], check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize("name", names())
def test_jobs_are_valid_to_the_letter(name, site):
    import kubernetes_validate

    plan = flatten(load(find(name, ".yaml")))
    given = {one.name: "x" for one in plan.parameters if one.default is None}
    job = yaml.safe_load(render("k8s-job", find(name, ".yaml"), "", site, given))
    kubernetes_validate.validate(job, "1.34", strict=True)
    job["spec"]["template"]["spec"]["containers"][0]["securityContext"]["readOnlyRootFileSystem"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, "1.34", strict=True)


def _through_argo(document):
    """A WorkflowTemplate as Argo's own models read and write it: what they do not know is lost."""
    import json

    from hera.workflows.models import WorkflowTemplate

    made = WorkflowTemplate.model_validate(document)
    return json.loads(made.model_dump_json(by_alias=True, exclude_none=True, exclude_unset=True))


@pytest.mark.parametrize("name", names())
def test_argo_knows_every_word_of_its_template(name, site):
    document = yaml.safe_load(render("argo", find(name, ".yaml"), "", site))
    assert _through_argo(document) == document
    document["spec"]["templates"][1]["container"]["imagee"] = "x"
    assert _through_argo(document) != document


def test_a_job_without_all_parameters_is_refused(site):
    with pytest.raises(ContractError, match="a Job needs all parameters; got path"):
        render("k8s-job", find(PIPELINE, ".yaml"), "", site)


def test_an_unknown_parameter_is_named():
    with pytest.raises(ContractError, match="unknown parameter; got nonsense"):
        _rendered("slurm", platform.Platform(), nonsense="1")


def _pods(part):
    if isinstance(part, dict):
        if "containers" in part:
            yield part
        part = list(part.values())
    for one in part if isinstance(part, list) else ():
        yield from _pods(one)


@pytest.mark.parametrize("target", ["k8s-job", "argo"])
def test_pods_cannot_become_root_nor_write_to_the_inputs(target, site):
    document = yaml.safe_load(_rendered(target, site))
    containers = [one["container"] for one in document["spec"].get("templates", []) if "container" in one]
    containers += [container for pod in _pods(document) for container in pod["containers"]]
    assert containers
    for container in containers:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        mounts = {one["mountPath"]: one.get("readOnly", False) for one in container["volumeMounts"]}
        assert mounts["/data"] is True
        assert "secretKeyRef" in str(container["env"]), "secrets by reference only"


def test_second_document_is_one_of_kfp_kubernetes(site):
    from google.protobuf import json_format
    from kfp.kubernetes import kubernetes_executor_config_pb2 as config

    first, second = yaml.safe_load_all(with_platform(find("train_trusted_classifier", ".yaml"), site))
    told = second["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert told.keys() == first["deploymentSpec"]["executors"].keys()
    trained = json_format.ParseDict(told["exec-train-classifier"], config.KubernetesExecutorConfig())
    assert trained.node_selector.labels == {"gpu": "a100"}
    assert trained.tolerations[0].effect == "NoSchedule"
    assert trained.secret_as_env[0].key_to_env[0].env_var == "CLAIMED_MED_SECRET"
    with pytest.raises(json_format.ParseError):
        json_format.ParseDict({**told["exec-train-classifier"], "nodeSelectors": {}}, config.KubernetesExecutorConfig())


def test_first_document_has_digests_gpus_and_root_and_still_loads(site, tmp_path):
    file = tmp_path / "pipeline.yaml"
    file.write_text(with_platform(find("train_trusted_classifier", ".yaml"), site))
    container = load(file).executors["exec-train-classifier"]["container"]
    assert "@sha256:" in container["image"]
    assert container["resources"]["accelerator"] == {"resourceType": "nvidia.com/gpu", "resourceCount": "1"}
    assert {"name": "CLAIMED_MED_IMAGE_DIGEST", "value": container["image"].partition("@")[2]} in container["env"]


def test_without_settings_of_nodes_there_is_no_second_document():
    bare = platform.parse({"store": {"data_claim": ""}})
    assert len(list(yaml.safe_load_all(with_platform(find(PIPELINE, ".yaml"), bare)))) == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[image.cpu]\nname = 'a/b:latest'", "must be fixed by its digest; got a/b:latest"),
        ("[secrets]\nTOKEN = 'abc'", "secrets.TOKEN must be a reference, never the secret"),
        ("[image.cpu]\ngpu = 1", "unknown keys; got image.cpu.gpu"),
        ("[slurm]\nshards = 0", "slurm.shards must be at least 1; got 0"),
        ("[slurm]\nshards = '2'", "slurm.shards must be a int; got '2'"),
        ("color = 1", "unknown keys; got color"),
        ("store = 1", "store must be a table"),
    ],
)
def test_what_a_platform_file_may_not_say_is_named(text, told):
    with pytest.raises(ContractError, match=told):
        platform.parse(tomllib.loads(text))


def test_nodes_of_elyra_stand_apart_and_link_to_real_ports():
    for name in names():
        plan = flatten(load(find(name, ".yaml")))
        contracts = {step.component: registry.get(step.component).contract for step in plan.steps}
        (pipeline,) = yaml.safe_load(elyra.render(plan, contracts))["pipelines"]
        nodes = {node["id"]: node for node in pipeline["nodes"]}
        places = {(n["app_data"]["ui_data"]["x_pos"], n["app_data"]["ui_data"]["y_pos"]) for n in nodes.values()}
        assert len(places) == len(nodes) == len(plan.steps)
        for node in nodes.values():
            parents = {link["node_id_ref"] for link in node["inputs"][0].get("links", [])}
            asked = {
                one["value"]["value"]
                for one in node["app_data"]["component_parameters"].values()
                if isinstance(one, dict) and one["widget"] == "inputpath"
            }
            assert parents == asked <= nodes.keys()


def test_text_that_elyra_pastes_into_python_keeps_its_meaning():
    for name in registry.names():
        text = component_yaml(registry.get(name).contract)
        pasted = ast.literal_eval('"""\n' + text + '\n"""')
        assert yaml.safe_load(pasted) == yaml.safe_load(text), name


def test_a_catalogue_is_what_elyra_accepts():
    content = yaml.safe_load(elyra.catalog("predict", "/x/components/predict"))
    wanted = {"schema_name": {"const": "local-directory-catalog"}, "display_name": {"type": "string", "minLength": 1}}
    jsonschema.validate(content, {"properties": wanted, "required": ["schema_name", "display_name", "metadata"]})
    assert content["metadata"]["categories"] == ["predict"]
