"""Validate Kubernetes manifests strictly against custom resource definitions: an unknown field is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import yaml


def faults(manifest: dict[str, Any], definition: Path) -> list[str]:
    """What is wrong with a manifest; empty when nothing is.

    Args:
        manifest: Parsed.
        definition: A file with CustomResourceDefinitions.
    """
    schema = _schema(manifest, definition)
    validator = jsonschema.Draft202012Validator(schema)
    return [f"{'/'.join(map(str, one.absolute_path))}: {one.message}" for one in validator.iter_errors(manifest)]


def _schema(manifest: dict[str, Any], definition: Path) -> dict[str, Any]:
    group, _, version = str(manifest["apiVersion"]).partition("/")
    for one in yaml.safe_load_all(definition.read_text(encoding="utf-8")):
        spec = (one or {}).get("spec", {})
        if spec.get("group") != group or spec.get("names", {}).get("kind") != manifest["kind"]:
            continue
        for told in spec["versions"]:
            if told["name"] == version:
                strict: dict[str, Any] = _strict(told["schema"]["openAPIV3Schema"])
                strict["properties"]["metadata"] = {"type": "object"}
                return strict
    raise LookupError(f"no definition of {manifest['apiVersion']} {manifest['kind']}")


def _strict(schema: Any) -> Any:
    """Close objects whose fields are listed, and say int-or-string as JSON Schema does."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _strict(one) for name, one in schema.items()}
    if made.get("x-kubernetes-int-or-string"):
        made.pop("anyOf", None)
        made["type"] = ["integer", "string"]
    listed = isinstance(made.get("properties"), dict) and made.get("type") == "object"
    if listed and not made.get("x-kubernetes-preserve-unknown-fields") and "additionalProperties" not in made:
        made["additionalProperties"] = False
    if isinstance(made.get("type"), str) and made.get("nullable"):
        made["type"] = [made["type"], "null"]
    return made
