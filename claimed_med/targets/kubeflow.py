"""Compiled pipeline and platform in, the two documents that a site's Kubeflow runs out.

The first is the pipeline with the site's images, sizes and GPUs; the second says, in the words of kfp-kubernetes, on
which nodes, with which volumes and with which secrets. Neither kfp nor kfp-kubernetes is imported.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from claimed_med.targets import pod

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claimed_med.targets.platform import Place, Platform


def documents(pipeline: Mapping[str, Any], platform: Platform) -> list[dict[str, Any]]:
    """The documents of a pipeline; the second is left out when the platform says nothing of nodes, volumes or secrets.

    Args:
        pipeline: The IR as parsed YAML.
        platform: Of the site.
    """
    made = copy.deepcopy(dict(pipeline))
    executors = made["deploymentSpec"]["executors"]
    told = {}
    for label, executor in executors.items():
        container = executor["container"]
        image = container["image"].rpartition("/")[2].partition(":")[0]
        place = platform.place(image)
        _container(container, place)
        if settings := _settings(place, platform):
            told[label] = settings
    if platform.store.root:
        made["defaultPipelineRoot"] = platform.store.root
    if not told:
        return [made]
    return [made, {"platforms": {"kubernetes": {"deploymentSpec": {"executors": told}}}}]


def _container(container: dict[str, Any], place: Place) -> None:
    if place.name:
        container["image"] = place.name
    resources: dict[str, Any] = {}
    for kind, value in (("Cpu", place.cpu), ("Memory", place.memory)):
        if value:
            resources |= {f"resource{kind}Limit": value, f"resource{kind}Request": value}
    if place.gpus:
        resources["accelerator"] = {"resourceType": place.gpu_resource, "resourceCount": str(place.gpus)}
    if resources:
        container["resources"] = resources
    container["env"] = pod.engine(place, "kubeflow")


def _settings(place: Place, platform: Platform) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if place.node_selector:
        made["nodeSelector"] = {"labels": dict(place.node_selector)}
    if place.tolerations:
        made["tolerations"] = [dict(one) for one in place.tolerations]
    if platform.store.data_claim:
        claim = {"runtimeValue": {"constant": platform.store.data_claim}}
        made["pvcMount"] = [{"mountPath": pod.DATA, "pvcNameParameter": claim}]
    secrets: dict[str, list[dict[str, str]]] = {}
    for name, reference in platform.secrets.items():
        secret, _, key = reference.partition("/")
        secrets.setdefault(secret, []).append({"secretKey": key, "envVar": name})
    if secrets:
        made["secretAsEnv"] = [
            {"secretNameParameter": {"runtimeValue": {"constant": name}}, "keyToEnv": keys, "optional": False}
            for name, keys in secrets.items()
        ]
    return made
