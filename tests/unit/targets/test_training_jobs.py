from __future__ import annotations

import os
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from claimed_med import registry, run, searchspace
from claimed_med.errors import ContractError
from claimed_med.models import recipe as recipes
from claimed_med.targets import katib, pytorchjob, trainjob
from claimed_med.targets.training_job import Platform
from claimed_med.testing.crd import faults

GOLDEN = Path(__file__).parent / "golden"
SETTINGS = {"epochs": 20, "seed": 3, "positive": "Lung Opacity"}
SPACE = "xray_classifier"
PLATFORM = Platform(
    name="xray",
    folders={"cohort": "split/cohort"},
    image="registry.example/claimed-med/torch@sha256:" + "0" * 64,
    n_nodes=2,
    n_processes=4,
    n_gpus=4,
    secret="claimed-med",  # noqa: S106 - the name of a Secret, not a secret
    node_selector={"gpu": "a100"},
)


@pytest.fixture(scope="module")
def specs(data):
    return data.parent / "specs"


@pytest.fixture
def contract():
    return registry.get("train-classifier").contract


def _rendered(name, contract):
    if name == "katib":
        return _experiment(contract)
    target = {"trainjob": trainjob, "pytorchjob": pytorchjob}[name]
    return target.render(contract, settings=SETTINGS, platform=PLATFORM)


def _experiment(contract, settings=SETTINGS, platform=None, space=SPACE):
    return katib.render(
        contract,
        settings=settings,
        platform=platform or replace(PLATFORM, n_nodes=1),
        space=searchspace.load(space),
        recipe=recipes.load("xray_classifier").as_dict(),
    )


@pytest.mark.parametrize("name", ["trainjob", "pytorchjob", "katib"])
def test_manifests_are_the_golden_ones(name, contract):
    rendered, golden = _rendered(name, contract), GOLDEN / f"{name}.yaml"
    if os.environ.get("CLAIMED_MED_WRITE_GOLDEN") == "1":
        golden.write_text(rendered)
    assert rendered == golden.read_text()


@pytest.mark.parametrize(
    ("name", "files"),
    [("trainjob", ["trainer_trainingruntimes.yaml", "trainer_trainjobs.yaml"]), ("pytorchjob", ["pytorchjobs.yaml"])],
)
def test_manifests_are_valid_to_the_letter(name, files, contract, specs):
    documents = list(yaml.safe_load_all(_rendered(name, contract)))
    for document, file in zip(documents, files, strict=True):
        assert faults(document, specs / file) == []


def _broken(document, path, value):
    *where, last = path
    for part in where:
        document = document[part]
    document[last] = value


POD = ("spec", "pytorchReplicaSpecs", "Worker", "template", "spec")


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("spec", "runPolicy", "cleanPodPolcy"), "All", "cleanPodPolcy"),
        ((*POD, "containers", 0, "securityContext", "readOnlyRootFileSystem"), True, "readOnlyRootFileSystem"),
        ((*POD, "containers", 0, "resources", "limits", "cpu"), [], "is not of type"),
        ((*POD, "containers", 0, "resources", "limits", "memory"), "16 GB", "does not match"),
        (("spec", "nprocPerNode"), 4, "is not of type 'string'"),
        (("spec", "pytorchReplicaSpecs"), None, "is not of type"),
        (("metadata", "nmae"), "x", "nmae"),
        (("metadata", "name"), "Not A Name", "does not match"),
        (("metdata",), {}, "metdata"),
    ],
)
def test_what_a_server_would_drop_or_refuse_is_a_fault(path, value, told, contract, specs):
    document = yaml.safe_load(_rendered("pytorchjob", contract))
    _broken(document, path, value)
    assert any(told in one for one in faults(document, specs / "pytorchjobs.yaml"))


def test_quantities_may_be_numbers_or_texts(contract, specs):
    document = yaml.safe_load(_rendered("pytorchjob", contract))
    _broken(document, (*POD, "containers", 0, "resources", "limits", "cpu"), 4)
    assert faults(document, specs / "pytorchjobs.yaml") == []


def test_a_kind_that_is_not_defined_is_said(contract, specs):
    with pytest.raises(LookupError, match="PyTorchJob"):
        faults(yaml.safe_load(_rendered("pytorchjob", contract)), specs / "trainer_trainjobs.yaml")


def _pods(name, contract):
    documents = list(yaml.safe_load_all(_rendered(name, contract)))
    found = []

    def walk(part):
        if isinstance(part, dict):
            found.extend([part] if "containers" in part else [])
            part = list(part.values())
        for one in part if isinstance(part, list) else ():
            walk(one)

    walk(documents)
    return found


@pytest.mark.parametrize(("name", "n_kinds"), [("trainjob", 1), ("pytorchjob", 2), ("katib", 1)])
def test_pods_cannot_become_root_nor_write_to_the_inputs(name, n_kinds, contract):
    pods = _pods(name, contract)
    assert len(pods) == n_kinds
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        mounts = {one["mountPath"]: one.get("readOnly", False) for one in container["volumeMounts"]}
        assert mounts["/data"] is True
        assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
        assert "claimed-med" in str(container["env"][-1]["valueFrom"]["secretKeyRef"]), "secrets by reference only"


@pytest.mark.parametrize("name", ["trainjob", "pytorchjob"])
def test_pods_run_the_same_words_as_a_shell(name, contract):
    for pod in _pods(name, contract):
        (container,) = pod["containers"]
        assert container["command"] == ["torchrun", "-m", "claimed_med", "run"]
        component, *words = container["args"]
        parsed = run.parser(contract).parse_args(words)
        assert component == contract.name
        assert (parsed.images, parsed.cohort, parsed.out) == ("/data/images", "/data/split/cohort", "/runs/out/xray")
        assert (parsed.epochs, parsed.seed, parsed.positive) == ("20", "3", "Lung Opacity")
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "4"


def test_all_nodes_and_processes_are_asked_for(contract):
    runtime, job = yaml.safe_load_all(_rendered("trainjob", contract))
    assert job["spec"]["trainer"] == {"numNodes": 2, "numProcPerNode": 4}
    assert job["spec"]["runtimeRef"]["name"] == runtime["metadata"]["name"]
    spec = yaml.safe_load(_rendered("pytorchjob", contract))["spec"]
    assert spec["nprocPerNode"] == "4"
    assert sum(one["replicas"] for one in spec["pytorchReplicaSpecs"].values()) == 2
    alone = pytorchjob.render(contract, settings={}, platform=Platform())
    assert set(yaml.safe_load(alone)["spec"]["pytorchReplicaSpecs"]) == {"Master"}


def _trial(text, **values):
    """The words that the container of a trial gets, after Katib has put the values in and a shell has split them."""
    spec = yaml.safe_load(text)["spec"]["trialTemplate"]
    container = spec["trialSpec"]["spec"]["template"]["spec"]["containers"][0]
    known = {one["name"] for one in spec["trialParameters"]}
    line = " ".join(container["args"])
    placed = re.sub(r"\$\{trialParameters\.(.+?)\}", lambda one: values[one[1]], line)
    assert container["command"] == ["sh", "-c"]
    assert set(re.findall(r"\$\{trialParameters\.(.+?)\}", line)) == known == set(values)
    return shlex.split(placed)


def test_an_experiment_searches_all_that_optuna_searches(contract):
    spec = yaml.safe_load(_rendered("katib", contract))["spec"]
    space = searchspace.load(SPACE)
    assert [one["name"] for one in spec["parameters"]] == [one.name for one in space.parameters]
    assert (spec["maxTrialCount"], spec["objective"]["objectiveMetricName"]) == (space.n_trials, space.objective)
    drawn = {"learning_rate": "0.002", "batch_size": "8", "weight_decay": "1e-05", "rotate_degrees": "7"}
    words = _trial(_rendered("katib", contract), trialName="xray-b5x", **drawn)
    parsed = run.parser(contract).parse_args(words[words.index(contract.name) + 1 :])
    base = recipes.load("xray_classifier")
    assert recipes.load(parsed.recipe) == base.changed(weight_decay=1e-5, rotate_degrees=7.0)
    assert (parsed.learning_rate, parsed.batch_size, parsed.positive) == ("0.002", "8", "Lung Opacity")
    assert parsed.out == "/runs/out/xray/xray-b5x", "trials that run at once must not write to one folder"


def test_texts_are_searched_as_texts(contract):
    space = 'objective = "a"\ndirection = "minimize"\nn_trials = 1\n'
    space += '[parameters.optimizer]\ntype = "categorical"\nchoices = ["adam", "sgd"]\n'
    words = _trial(_experiment(contract, space=space), trialName="a", optimizer="sgd")
    assert recipes.load(words[words.index("--recipe") + 1]).training.optimizer == "sgd"


@pytest.mark.parametrize(
    ("settings", "changes", "told"),
    [
        ({"epoch": 3}, {}, "epoch"),
        ({"n_processes": 2}, {}, "torchrun"),
        ({}, {"folders": {"image": "x"}}, "image"),
        ({}, {"folders": {"images": "../x"}}, "on the claim"),
        ({}, {"folders": {"images": "/x"}}, "on the claim"),
    ],
)
def test_what_the_component_does_not_have_is_refused(settings, changes, told, contract):
    with pytest.raises(ContractError, match=told):
        trainjob.render(contract, settings=settings, platform=replace(PLATFORM, **changes))


@pytest.mark.parametrize("changes", [{"name": "X ray"}, {"name": ""}, {"n_nodes": 0}, {"n_gpus": -1}])
def test_a_platform_that_cannot_be_is_refused(changes):
    with pytest.raises(ContractError, match="manifest"):
        replace(PLATFORM, **changes)


def test_what_does_not_train_gets_no_job():
    for name in ("make-cohort", "mitigate-bias", "search-hyperparameters"):
        with pytest.raises(ContractError, match="several processes"):
            pytorchjob.render(registry.get(name).contract, settings={}, platform=PLATFORM)


def test_an_experiment_that_cannot_be_is_refused(contract):
    with pytest.raises(ContractError, match="one node"):
        _experiment(contract, platform=PLATFORM)
    with pytest.raises(ContractError, match="also searched"):
        _experiment(contract, settings={"batch_size": 8})
    with pytest.raises(ContractError, match="no settings"):
        katib.render(contract, settings={}, platform=Platform(), space=searchspace.load(SPACE))
