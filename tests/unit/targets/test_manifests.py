"""Every manifest that can be generated, against the strict schemas and the models of Kubeflow's package."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from claimed_med import registry, searchspace
from claimed_med.cli import main
from claimed_med.engines.flatten import flatten
from claimed_med.engines.ir import load
from claimed_med.engines.render import render
from claimed_med.errors import ContractError
from claimed_med.models import kserve
from claimed_med.models import recipe as recipes
from claimed_med.pipeline_cli import find, names
from claimed_med.targets import k8s_job, katib, platform, pytorchjob, trainjob
from claimed_med.targets.training_job import Platform
from claimed_med.testing.crd import faults

SITE = platform.load(Path(__file__).parent / "golden" / "platform.toml")
TARGETS = ("airflow", "slurm", "cwl", "argo", "k8s-job", "kubeflow")
DIGEST = "@sha256:" + "0" * 64
TRAINS = [
    name
    for name in registry.names()
    if "n_processes" in {one.name for one in registry.get(name).contract.settings}
    and registry.get(name).contract.name.startswith("train-")
]
# the cluster's values, each left out and given
PLATFORMS = [
    Platform(),
    Platform(name="x-1", n_processes=2, image="registry.example/torch" + DIGEST, secret="claimed-med"),  # noqa: S106
    Platform(n_gpus=8, n_processes=8, cpu="64", memory="512Gi", node_selector={"gpu": "a100", "zone": "b"}),
]
MANY = [*PLATFORMS, replace(PLATFORMS[2], n_nodes=4)]
FILES = {
    "TrainingRuntime": "trainer_trainingruntimes.yaml",
    "TrainJob": "trainer_trainjobs.yaml",
    "PyTorchJob": "pytorchjobs.yaml",
    "InferenceService": "kserve_inferenceservices.yaml",
    "ServingRuntime": "kserve_servingruntimes.yaml",
}


@pytest.fixture(scope="module")
def specs(data):
    return data.parent / "specs"


def _given(name):
    plan = flatten(load(find(name, ".yaml")))
    return {one.name: "x" for one in plan.parameters if one.default is None}


def _check_letter(document, specs):
    """Valid to the letter: the schema of its kind, unknown fields being faults."""
    if document["kind"] in FILES:
        assert faults(document, specs / FILES[document["kind"]]) == []
    else:
        kubernetes_validate.validate(document, "1.34", strict=True)


def _through(model, document):
    """A document as a model of Kubeflow's package reads and writes it: what it does not know is lost."""
    made = model.model_validate(document)
    return made.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)


# --- pipelines


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", names())
def test_every_pipeline_compiles_for_every_target_by_the_command_line(name, target, tmp_path):
    words = [] if target == "kubeflow" else [f"--set={key}={value}" for key, value in _given(name).items()]
    out = tmp_path / "out"
    assert main(["pipeline", "compile", name, "--target", target, *words, "--out", str(out)]) == 0
    assert out.stat().st_size > 500


@pytest.mark.parametrize("site", [platform.Platform(), SITE], ids=["bare", "site"])
@pytest.mark.parametrize("name", names())
def test_the_job_of_every_pipeline_is_valid(name, site, specs):
    documents = list(yaml.safe_load_all(render("k8s-job", find(name, ".yaml"), "", site, _given(name))))
    assert [one["kind"] for one in documents] == ["Job"]
    for document in documents:
        _check_letter(document, specs)


def test_the_table_of_engines_has_a_row_for_every_pipeline_and_no_other():
    text = (Path(__file__).parents[3] / "docs" / "engines.md").read_text()
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| `")]
    assert sorted(row[0].strip(" `") for row in rows) == sorted(names())
    assert {cell.strip().partition(",")[0] for row in rows for cell in row[1:]} <= {"run", "valid"}


def test_the_image_of_a_job_holds_what_its_steps_need_by_its_dockerfile():
    folder = Path(__file__).parents[3] / "docker"
    told = {path.stem: path.read_text() for path in folder.glob("*.Dockerfile")}
    extras = {name: _argument(text, "EXTRAS").split(",") for name, text in told.items()}
    below = {name: _argument(text, "BASE").rsplit("/", 1)[-1] for name, text in told.items()}
    assert sorted(k8s_job._HOLDS) == sorted(told)
    for name, held in k8s_job._HOLDS.items():
        stack = [name]
        while below[stack[-1]] in told:
            stack.append(below[stack[-1]])
        brought = {extra for one in stack for extra in extras[one]}
        assert held - {*stack} <= brought, name


def _argument(text, name):
    return next(line.partition("=")[2] for line in text.splitlines() if line.startswith(f"ARG {name}="))


def test_a_job_has_the_smallest_image_that_runs_all_steps_or_is_refused():
    plans = {name: flatten(load(find(name, ".yaml"))) for name in names()}
    wanted = {"segment_and_report": "torch", "pacs_segment_and_report": "serve", "deploy_blessed_model": "serve"}
    assert {name: k8s_job.image_of(plans[name]) for name in wanted} == wanted
    plan = plans["segment_and_report"]
    strange = replace(plan, steps=[replace(plan.steps[0], image="theirs"), *plan.steps[1:]])
    with pytest.raises(ContractError, match="one pod with one image; got cpu, theirs, torch"):
        k8s_job.image_of(strange)


# --- training


def test_both_trainers_get_jobs():
    assert TRAINS == ["train-classifier", "train-segmenter"]


@pytest.mark.parametrize("given", MANY, ids=["default", "two", "gpus", "nodes"])
@pytest.mark.parametrize("target", [trainjob, pytorchjob], ids=["trainjob", "pytorchjob"])
@pytest.mark.parametrize("name", TRAINS)
def test_every_training_job_is_valid(name, target, given, specs):
    text = target.render(registry.get(name).contract, settings={"seed": 7}, platform=given)
    documents = list(yaml.safe_load_all(text))
    assert documents
    for document in documents:
        _check_letter(document, specs)


@pytest.mark.parametrize("name", TRAINS)
def test_a_train_job_is_one_of_kubeflows_package(name):
    from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob

    for given in MANY:
        text = trainjob.render(registry.get(name).contract, settings={"seed": 7}, platform=given)
        _, job = yaml.safe_load_all(text)  # its models of a TrainingRuntime take no quantities
        assert _through(TrainerV1alpha1TrainJob, job) == job
        job["spec"]["numNodez"] = 2
        assert _through(TrainerV1alpha1TrainJob, job) != job


# --- search

OTHER = """
objective = "validation_loss"
direction = "minimize"
n_trials = 4
[parameters.optimizer]
type = "categorical"
choices = ["adam", "sgd"]
[parameters.batch_size]
type = "int"
low = 2
high = 8
[parameters.learning_rate]
type = "float"
low = 1e-5
high = 1e-2
log = true
"""


def _experiments():
    """Every space with every recipe of its trainer and every platform of one node."""
    kinds = {one: recipes.load(one).task for one in recipes.names()}
    trainer = {"classification": "train-classifier", "segmentation": "train-segmenter"}
    for space, recipe, given in product([*searchspace.names(), OTHER], kinds, PLATFORMS):
        contract = registry.get(trainer[kinds[recipe]]).contract
        told = recipes.load(recipe).as_dict()
        text = katib.render(contract, settings={"seed": 3}, platform=given, space=searchspace.load(space), recipe=told)
        yield yaml.safe_load(text)


def test_every_experiment_is_one_of_kubeflows_package_and_its_trials_are_jobs(specs):
    from kubeflow_katib_api.models import V1beta1Experiment

    made = list(_experiments())
    assert len(made) == (len(searchspace.names()) + 1) * len(recipes.names()) * len(PLATFORMS)
    for document in made:
        assert _through(V1beta1Experiment, document) == document
        trial = document["spec"]["trialTemplate"]["trialSpec"]
        _check_letter({**trial, "metadata": {"name": "trial"}}, specs)
    document["spec"]["maxTrialCounts"] = 3
    assert _through(V1beta1Experiment, document) != document
    document["spec"]["maxTrialCount"] = "many"
    with pytest.raises(ValueError, match="maxTrialCount"):
        V1beta1Experiment.model_validate(document)


# --- serving

CHOICES = {
    "storage_uri": ["s3://models/xray", "pvc://models/xray", "oci://registry.example/xray" + DIGEST],
    "canary_percent": [10, 100],
    "n_gpus": [0, 2],
    "database_secret": ["", "predictions"],
    "override": ["", "ticket 7"],
    "egress": [(), ("10.1.2.3/32:443", "10.1.2.4/32:5432")],
}


def test_every_form_of_an_inference_service_is_valid(specs):
    n_services = 0
    for values in product(*CHOICES.values()):
        given = dict(zip(CHOICES, values, strict=True))
        service = kserve.Service(
            name="xray", namespace="imaging", image="registry.example/serve" + DIGEST, bundle_digest="b" * 64, **given
        )
        for manifest in kserve.manifests(service):
            _check_letter(manifest, specs)
            n_services += manifest["kind"] == "InferenceService"
    assert n_services == 3 * 2**5
