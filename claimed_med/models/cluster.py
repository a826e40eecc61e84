"""Apply manifests to a Kubernetes cluster, when one is configured (KUBECONFIG, or inside of a pod)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from claimed_med.errors import OutputError, require

MANAGER = "claimed-med"
_PLURALS = {
    "InferenceService": "inferenceservices",
    "ServingRuntime": "servingruntimes",
    "NetworkPolicy": "networkpolicies",
}
_TYPE = "application/apply-patch+yaml"


def is_configured() -> bool:
    """Whether the environment names a cluster."""
    named = os.environ.get("KUBECONFIG", "")
    default = Path.home() / ".kube" / "config"
    return bool(named or os.environ.get("KUBERNETES_SERVICE_HOST") or default.is_file())


def apply(manifests: Sequence[Mapping[str, Any]], where: str) -> list[str]:
    """Apply manifests on the side of the server, in their order; what is already so stays.

    Args:
        manifests: Of kinds of this package.
        where: The component that speaks.

    Returns:
        `kind/name` of each.

    Raises:
        MissingDependencyError: The client is not installed.
        OutputError: The cluster refuses one, or does not answer.
    """
    client, config = require("kubernetes.client", "serve"), require("kubernetes.config", "serve")
    try:
        # named here: the client looks at the environment only once, when it is imported
        named = os.environ.get("KUBECONFIG", "")
        config.load_config(**({"config_file": named} if named else {}))
    except Exception as error:  # noqa: BLE001 - the client has no common class, and its texts name the cluster
        told = type(error).__name__
        raise OutputError(
            where, "the configuration of the cluster cannot be read", got=told, do="check KUBECONFIG"
        ) from None
    done: list[str] = []
    with client.ApiClient() as api:
        for one in manifests:
            try:
                _apply(api, one)
            except Exception as error:  # noqa: BLE001 - as above
                told = f"{one['kind']}, {type(error).__name__} {getattr(error, 'status', '') or ''}".strip()
                do = f"{len(done)} of {len(manifests)} were applied; mend it and run again"
                raise OutputError(where, "the cluster does not take a manifest", got=told, do=do) from None
            done.append(f"{one['kind']}/{one['metadata']['name']}")
    return done


def _apply(api: Any, manifest: Mapping[str, Any]) -> None:
    meta, plural = manifest["metadata"], _PLURALS[manifest["kind"]]
    api.call_api(
        f"/apis/{manifest['apiVersion']}/namespaces/{meta['namespace']}/{plural}/{meta['name']}",
        "PATCH",
        query_params=[("fieldManager", MANAGER), ("force", "true")],
        header_params={"Content-Type": _TYPE, "Accept": "application/json"},
        body=dict(manifest),
        auth_settings=["BearerToken"],
        _request_timeout=60,
        response_type="object",
    )
