"""`claimed-med manifest NAME --target trainjob|pytorchjob|katib`: training jobs for a cluster. Standard library only."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from claimed_med import registry, searchspace
from claimed_med.component import parse_argument
from claimed_med.errors import ContractError
from claimed_med.targets import katib, pytorchjob, trainjob
from claimed_med.targets.training_job import Platform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claimed_med.component import Contract

TARGETS = ("trainjob", "pytorchjob", "katib")
# what searches on this machine is, on a cluster, an experiment over the component that trains
_SEARCHED = {"search-hyperparameters": "train-classifier"}


def main(words: Sequence[str]) -> int:
    """Print one manifest; the exit code."""
    given = parser().parse_args(list(words))
    contract = registry.get(_SEARCHED.get(given.name, given.name)).contract
    platform = Platform(
        name=given.job,
        claim=given.claim,
        image=given.image,
        n_nodes=given.nodes,
        n_processes=given.processes,
        n_gpus=given.gpus,
        secret=given.secret,
    )
    settings = _settings(contract, given.set)
    if given.target == "katib":
        text = katib.render(contract, settings=settings, platform=platform, space=searchspace.load(given.space))
    else:
        render = trainjob.render if given.target == "trainjob" else pytorchjob.render
        text = render(contract, settings=settings, platform=platform)
    print(text, end="")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="claimed-med manifest", description="Print the Kubernetes manifest of a training job."
    )
    made.add_argument("name", help="a training component, such as train-classifier")
    made.add_argument("--target", choices=TARGETS, required=True)
    made.add_argument("--set", action="append", default=[], metavar="SETTING=VALUE", help="may be repeated")
    made.add_argument("--job", default="train", metavar="NAME", help="name of the job")
    made.add_argument("--claim", default="claimed-med-data", metavar="NAME", help="PersistentVolumeClaim of the data")
    made.add_argument("--image", default="", metavar="IMAGE", help="image with digest")
    made.add_argument("--nodes", type=int, default=1, metavar="N")
    made.add_argument("--processes", type=int, default=1, metavar="N", help="processes a node, one a GPU")
    made.add_argument("--gpus", type=int, default=0, metavar="N", help="GPUs a node")
    made.add_argument("--secret", default="", metavar="NAME", help="Secret with CLAIMED_MED_SECRET")
    made.add_argument("--space", default="xray_classifier", metavar="SPACE", help="search space of katib")
    return made


def _settings(contract: Contract, pairs: Sequence[str]) -> dict[str, Any]:
    settings = {}
    for pair in pairs:
        name, found, text = pair.partition("=")
        if not found:
            raise ContractError("manifest", "--set needs SETTING=VALUE", got=repr(pair))
        setting = contract.setting(name.replace("-", "_"))
        settings[setting.name] = parse_argument(setting, text, contract.name)
    return settings
