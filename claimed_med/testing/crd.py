"""Validate Kubernetes manifests against custom resource definitions more strictly than a server: unknown is an error.

A definition is made into a JSON schema: objects whose fields are listed take no other, int-or-string is said as JSON
Schema says it. Rules in CEL (`x-kubernetes-validations`) are not evaluated.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jsonschema
import yaml

_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_METADATA = {
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "maxLength": 253, "pattern": r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"},
        "namespace": {"type": "string", "maxLength": 63, "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"},
        "labels": _TEXTS,
        "annotations": _TEXTS,
    },
}


def faults(manifest: dict[str, Any], definition: Path) -> list[str]:
    """What is wrong with a manifest; empty when nothing is.

    Args:
        manifest: Parsed.
        definition: A file with CustomResourceDefinitions.

    Returns:
        One text a fault: where, and what.

    Raises:
        LookupError: The file does not define the manifest's kind and version.
    """
    validator = jsonschema.Draft202012Validator(schema(manifest, definition))
    found = sorted(validator.iter_errors(manifest), key=lambda one: [str(part) for part in one.absolute_path])
    return [f"{'/'.join(map(str, one.absolute_path))}: {one.message}" for one in found]


def schema(manifest: dict[str, Any], definition: Path) -> dict[str, Any]:
    """The strict JSON schema of a manifest's kind and version; arguments as of `faults`.

    Raises:
        LookupError: The file does not define them.
    """
    return _schema(str(manifest["apiVersion"]), str(manifest["kind"]), definition)


@functools.cache  # definitions are megabytes of YAML
def _schema(api_version: str, kind: str, definition: Path) -> dict[str, Any]:
    group, _, version = api_version.partition("/")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast
    for one in yaml.load_all(definition.read_text(encoding="utf-8"), Loader=loader):
        spec = (one or {}).get("spec", {})
        if spec.get("group") != group or spec.get("names", {}).get("kind") != kind:
            continue
        for told in spec["versions"]:
            if told["name"] == version:
                made = _strict(told["schema"]["openAPIV3Schema"])
                # a server checks these itself, whatever the definition says
                made["properties"] |= {
                    "apiVersion": {"const": api_version},
                    "kind": {"const": kind},
                    "metadata": _METADATA,
                }
                made["required"] = sorted({"apiVersion", "kind", "metadata", "spec", *made.get("required", ())})
                return made
    raise LookupError(f"no definition of {api_version} {kind}")


def _strict(told: dict[str, Any]) -> dict[str, Any]:
    made = {name: one for name, one in told.items() if not name.startswith("x-kubernetes-")}
    if told.get("x-kubernetes-int-or-string"):
        made.pop("anyOf", None)
        made["type"] = ["integer", "string"]
    if "properties" in told:
        made["properties"] = {name: _strict(one) for name, one in told["properties"].items()}
    open_ended = told.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in told
    if "properties" in told and not open_ended:
        made["additionalProperties"] = False
    for name in ("additionalProperties", "items", "not"):
        if isinstance(told.get(name), dict):
            made[name] = _strict(told[name])
    if told.get("nullable") and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    return made
