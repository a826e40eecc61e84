"""What deploying and rolling back have in common: the manifests as files, a report, and what the cluster did."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from claimed_med.emit import to_yaml
from claimed_med.errors import InputError
from claimed_med.models import cluster

APPLIED, WRITTEN = "applied", "written"
_FROM = "claimed-med/rolled-back-from"


@dataclass(frozen=True)
class Deployed:
    """What was deployed.

    Attributes:
        report: JSON-ready.
        page: HTML.
        files: `manifests.yaml`.
        state: `applied` or `written`.
    """

    report: dict[str, Any]
    page: str
    files: dict[str, bytes] = field(default_factory=dict)
    state: str = WRITTEN


def listed(text: str) -> tuple[str, ...]:
    """The parts of a text that are separated by commas."""
    return tuple(one.strip() for one in text.split(",") if one.strip())


def deployed(
    where: str,
    digest: str,
    manifests: Sequence[Mapping[str, Any]],
    *,
    override: str = "",
    apply: bool = True,
    rolled_back_from: str = "",
) -> Deployed:
    """Apply manifests where a cluster is configured, and describe them.

    Args:
        where: The component that speaks.
        digest: Of the bundle.
        manifests: In the order in which they are applied.
        override: Why there is no blessing; ''.
        apply: False to write them only.
        rolled_back_from: Digest of the bundle that was deployed before; ''.

    Raises:
        OutputError: The cluster refuses one.
    """
    state = WRITTEN
    if apply and cluster.is_configured():
        cluster.apply(manifests, where)
        state = APPLIED
    text = "---\n".join(to_yaml(dict(one)) for one in manifests)
    names = [f"{one['kind']}/{one['metadata']['name']}" for one in manifests]
    report = {
        "kind": "deployment",
        "state": state,
        "bundle_digest": digest,
        "override": override,
        "rolled_back_from": rolled_back_from,
        "objects": names,
        "manifests": [dict(one) for one in manifests],
    }
    told = "They were applied." if state == APPLIED else "No cluster was asked: they were written only."
    rows = "".join(f"<li>{escape(one)}</li>" for one in names)
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Deployment</title><h1>Deployment</h1>"
        f"<p>Bundle {escape(digest[:12])}. {told}</p><ul>{rows}</ul><pre>{escape(text)}</pre></html>"
    )
    return Deployed(report, page, {"manifests.yaml": text.encode()}, state)


def rolled_back(where: str, current: Mapping[str, Any], previous: Mapping[str, Any], *, apply: bool) -> Deployed:
    """Deploy what was deployed before, with all of the traffic.

    Raises:
        InputError: One of them is no deployment, or they are of different services, or of one model.
        OutputError: The cluster refuses a manifest.
    """
    for one in (current, previous):
        if one.get("kind") != "deployment":
            raise InputError(where, "the report is no deployment", got=one.get("kind"), do="give one of deploy-kserve")
    if _places(current) != _places(previous):
        raise InputError(where, "the deployments are of different services", do="give two of one service")
    before, now = str(previous["bundle_digest"]), str(current["bundle_digest"])
    if before == now:
        raise InputError(where, "both deployments are of one model", got=now[:12], do="give an earlier one")
    manifests = copy.deepcopy(list(previous["manifests"]))
    for manifest in manifests:
        manifest["metadata"].setdefault("annotations", {})[_FROM] = now
        manifest["spec"].get("predictor", {}).pop("canaryTrafficPercent", None)
    override = str(previous.get("override", ""))
    return deployed(where, before, manifests, override=override, apply=apply, rolled_back_from=now)


def _places(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Kinds, namespaces and names; a runtime is called by its bundle."""
    told = (
        (one["kind"], one["metadata"]["namespace"], "" if one["kind"] == "ServingRuntime" else one["metadata"]["name"])
        for one in report["manifests"]
    )
    return sorted(told)
