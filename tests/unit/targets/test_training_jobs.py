from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from claimed_med import manifest_cli, registry, searchspace
from claimed_med.errors import ContractError
from claimed_med.targets import katib, pytorchjob, trainjob
from claimed_med.targets.training_job import Platform
from claimed_med.testing.crd import faults

GOLDEN = Path(__file__).parent / "golden"
SETTINGS = {"recipe": "xray_classifier", "epochs": 20}
PLATFORM = Platform(
    name="xray",
    image="registry.example/claimed-med/torch@sha256:" + "0" * 64,
    n_nodes=2,
    n_processes=4,
    n_gpus=4,
    secret="claimed-med",
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
        return katib.render(contract, settings=SETTINGS, platform=PLATFORM, space=searchspace.load("xray_classifier"))
    return {"trainjob": trainjob, "pytorchjob": pytorchjob}[name].render(contract, settings=SETTINGS, platform=PLATFORM)


@pytest.mark.parametrize("name", ["trainjob", "pytorchjob", "katib"])
def test_manifests_are_the_golden_ones(name, contract):
    assert _rendered(name, contract) == (GOLDEN / f"{name}.yaml").read_text()


@pytest.mark.parametrize(
    ("name", "files"),
    [("trainjob", ["trainer_trainingruntimes.yaml", "trainer_trainjobs.yaml"]), ("pytorchjob", ["pytorchjobs.yaml"])],
)
def test_manifests_are_valid_to_the_letter(name, files, contract, specs):
    documents = list(yaml.safe_load_all(_rendered(name, contract)))
    for document, file in zip(documents, files, strict=True):
        assert not faults(document, specs / file)


def test_an_unknown_field_is_a_fault(contract, specs):
    document = yaml.safe_load(_rendered("pytorchjob", contract))
    document["spec"]["runPolicy"]["cleanPodPolcy"] = "All"
    assert any("cleanPodPolcy" in one for one in faults(document, specs / "pytorchjobs.yaml"))


def test_pods_run_the_same_words_as_a_shell(contract):
    spec = yaml.safe_load(_rendered("pytorchjob", contract))["spec"]["pytorchReplicaSpecs"]
    container = spec["Master"]["template"]["spec"]["containers"][0]
    assert container["args"][:3] == ["train-classifier", "--images", "/data/images"]
    assert container["command"] == ["torchrun", "--nproc-per-node=4", "-m", "claimed_med", "run"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "4"
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert spec["Worker"]["replicas"] == 1


def test_an_experiment_searches_what_the_space_says(contract):
    spec = yaml.safe_load(_rendered("katib", contract))["spec"]
    space = searchspace.load("xray_classifier")
    own = {one.name for one in contract.settings}
    assert [one["name"] for one in spec["parameters"]] == [one.name for one in space.parameters if one.name in own]
    arguments = spec["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]["containers"][0]["args"]
    for one in spec["trialTemplate"]["trialParameters"]:
        assert f"${{trialParameters.{one['name']}}}" in arguments


def test_what_does_not_train_gets_no_job():
    with pytest.raises(ContractError, match="no training component"):
        pytorchjob.render(registry.get("make-cohort").contract, settings={}, platform=PLATFORM)


def test_the_command_prints_a_manifest(capsys):
    assert manifest_cli.main(["train-classifier", "--target", "trainjob", "--set", "epochs=3", "--gpus", "1"]) == 0
    runtime, job = yaml.safe_load_all(capsys.readouterr().out)
    assert (runtime["kind"], job["kind"]) == ("TrainingRuntime", "TrainJob")
    assert "3" in str(runtime)


def test_a_wrong_setting_is_refused():
    with pytest.raises(ContractError, match="epoch"):
        manifest_cli.main(["train-classifier", "--target", "trainjob", "--set", "epoch=3"])
