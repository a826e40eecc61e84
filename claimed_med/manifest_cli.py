"""`claimed-med manifest NAME --target trainjob|pytorchjob|katib`: a training job for a cluster. Light at the top."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from claimed_med import registry, searchspace
from claimed_med.component import parse_argument
from claimed_med.errors import ContractError
from claimed_med.models import recipe as recipes
from claimed_med.targets import katib, pytorchjob, trainjob
from claimed_med.targets.training_job import Platform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claimed_med.component import Contract

TARGETS = ("trainjob", "pytorchjob", "katib")
# what searches on this machine is, on a cluster, an experiment over the component that trains
_SEARCHED = {"search-hyperparameters": "train-classifier"}


def main(words: Sequence[str]) -> int:
    """Print one manifest; the exit code.

    Raises:
        ContractError: A component that does not train, or a setting, port, name or number that is not allowed.
    """
    given = parser().parse_args(list(words))
    name = _SEARCHED.get(given.name, given.name) if given.target == "katib" else given.name
    contract = registry.get(name).contract
    platform = Platform(
        name=given.job,
        claim=given.claim,
        work_claim=given.work_claim,
        folders=dict(_pair(one, "--input", "PORT=FOLDER") for one in given.input),
        image=given.image,
        n_nodes=given.nodes,
        n_processes=given.processes,
        n_gpus=given.gpus,
        cpu=given.cpu,
        memory=given.memory,
        secret=given.secret,
        node_selector=dict(_pair(one, "--node-label", "LABEL=VALUE") for one in given.node_label),
    )
    settings = _settings(contract, given.set)
    if given.target == "katib":
        print(_experiment(contract, settings, platform, given.space), end="")
    else:
        render = {"trainjob": trainjob.render, "pytorchjob": pytorchjob.render}[given.target]
        print(render(contract, settings=settings, platform=platform), end="")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="claimed-med manifest", description="Print the Kubernetes manifest of a training job."
    )
    made.add_argument("name", help="a training component, such as train-classifier")
    made.add_argument("--target", choices=TARGETS, required=True, help="what to print")
    made.add_argument("--set", action="append", default=[], metavar="SETTING=VALUE", help="may be repeated")
    made.add_argument("--job", default=Platform.name, metavar="NAME", help="name of the job (default: %(default)s)")
    made.add_argument("--image", default="", metavar="IMAGE", help="image with digest (default: the component's)")
    made.add_argument("--space", default="xray_classifier", metavar="SPACE", help="search space of katib, name or TOML")
    size = made.add_argument_group("size")
    size.add_argument("--nodes", type=int, default=1, metavar="N", help="pods (default: 1)")
    size.add_argument("--processes", type=int, default=1, metavar="N", help="processes a pod, one a GPU (default: 1)")
    size.add_argument("--gpus", type=int, default=0, metavar="N", help="GPUs a pod (default: 0)")
    size.add_argument("--cpu", default=Platform.cpu, metavar="N", help="cores a pod (default: %(default)s)")
    size.add_argument("--memory", default=Platform.memory, metavar="N", help="memory a pod (default: %(default)s)")
    size.add_argument("--node-label", action="append", default=[], metavar="LABEL=VALUE", help="may be repeated")
    place = made.add_argument_group("volumes and secret, by name")
    place.add_argument("--claim", default=Platform.claim, metavar="NAME", help="claim of the inputs (%(default)s)")
    place.add_argument(
        "--work-claim",
        default=Platform.work_claim,
        metavar="NAME",
        help="claim of outputs and checkpoints (%(default)s)",
    )
    place.add_argument(
        "--input", action="append", default=[], metavar="PORT=FOLDER", help="where a port lies on its claim (its name)"
    )
    place.add_argument("--secret", default="", metavar="NAME", help="Secret with CLAIMED_MED_SECRET (default: none)")
    return made


def _experiment(contract: Contract, settings: dict[str, Any], platform: Platform, space: str) -> str:
    searched = searchspace.load(space)
    recipe = next(
        (recipes.load(settings.get(one.name, one.default)) for one in contract.settings if one.name == "recipe"), None
    )
    if recipe is not None:
        drawn = {one.name: one.choices[0] if one.choices else one.low for one in searched.parameters}
        recipe.changed(**drawn)  # refuses what has another type in the recipe
    content = None if recipe is None else recipe.as_dict()
    return katib.render(contract, settings=settings, platform=platform, space=searched, recipe=content)


def _settings(contract: Contract, pairs: Sequence[str]) -> dict[str, Any]:
    settings = {}
    for name, text in (_pair(one, "--set", "SETTING=VALUE") for one in pairs):
        setting = contract.setting(name.replace("-", "_"))
        settings[setting.name] = parse_argument(setting, text, contract.name)
    return settings


def _pair(word: str, option: str, form: str) -> tuple[str, str]:
    name, found, value = word.partition("=")
    if not found or not name:
        raise ContractError("manifest", f"{option} takes {form}", got=repr(name))
    return name, value
