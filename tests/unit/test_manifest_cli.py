from __future__ import annotations

import pytest
import yaml

from claimed_med.cli import main

TRAIN = ["manifest", "train-classifier", "--target"]


def test_options_arrive_in_the_manifest(capsys):
    words = "--set epochs=3 --job xray --image r/t@sha256:1 --nodes 3 --processes 2 --gpus 2 --memory 64Gi --cpu 8"
    places = "--claim d --work-claim w --secret s --input cohort=split/cohort --node-label gpu=a100"
    assert main([*TRAIN, "pytorchjob", *words.split(), *places.split()]) == 0
    made = yaml.safe_load(capsys.readouterr().out)
    worker = made["spec"]["pytorchReplicaSpecs"]["Worker"]
    pod = worker["template"]["spec"]
    (container,) = pod["containers"]
    assert (made["metadata"]["name"], worker["replicas"], made["spec"]["nprocPerNode"]) == ("xray", 2, "2")
    assert container["resources"]["limits"] == {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "2"}
    assert container["image"] == "r/t@sha256:1"
    assert container["args"][3:] == ["--cohort", "/data/split/cohort", "--epochs", "3", "--out", "/runs/out/xray"]
    claims = [one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"] if "persistentVolumeClaim" in one]
    assert claims == ["d", "w"]
    assert pod["nodeSelector"] == {"gpu": "a100"}
    assert container["env"][-1]["valueFrom"]["secretKeyRef"]["name"] == "s"


def test_a_train_job_comes_with_its_runtime(capsys):
    assert main([*TRAIN, "trainjob"]) == 0
    made = list(yaml.safe_load_all(capsys.readouterr().out))
    assert [one["kind"] for one in made] == ["TrainingRuntime", "TrainJob"]


def test_a_search_becomes_an_experiment_over_what_trains(capsys):
    assert main(["manifest", "search-hyperparameters", "--target", "katib", "--set", "recipe=xray_small"]) == 0
    made = yaml.safe_load(capsys.readouterr().out)
    line = made["spec"]["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]["containers"][0]["args"][0]
    assert " run train-classifier " in line
    assert 'name = "Classifier"' in line, "the rest of the recipe is the one that was asked for"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--set", "epoch=3"], "epoch"),
        (["--set", "epochs=many"], "epochs"),
        (["--set", "epochs"], "--set takes SETTING=VALUE"),
        (["--input", "pixels=x"], "pixels"),
        (["--nodes", "0"], "n_nodes"),
        (["--job", "My Job"], "job's name"),
    ],
)
def test_what_cannot_be_is_said(words, told, capsys):
    assert main([*TRAIN, "trainjob", *words]) == 2
    assert told in capsys.readouterr().err


def test_a_parameter_of_another_type_than_in_the_recipe_is_refused(capsys):
    space = 'objective = "validation_auc"\ndirection = "maximize"\nn_trials = 2\n'
    space += '[parameters.optimizer]\ntype = "int"\nlow = 1\nhigh = 3\n'
    assert main([*TRAIN, "katib", "--space", space]) == 2
    assert "optimizer" in capsys.readouterr().err
