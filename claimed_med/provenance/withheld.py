"""Take out of a compiled pipeline what is never recorded: paths, servers, and texts for containers of others."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

from claimed_med import registry
from claimed_med.errors import ClaimedMedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claimed_med.contract import Contract

LOCATION, ADDRESS, FOREIGN = "location", "address", "foreign"


def without_places(ir: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """A copy of a compiled pipeline without locations, addresses and what a container of others is told.

    Nobody says what a parameter of such a container means, so it may be a patient's name.

    Args:
        ir: As parsed.

    Returns:
        cleaned: Constants and defaults that reach such a setting are ''.
        withheld: Pipeline parameter -> `location`, `address` or `foreign`.
    """
    cleaned = copy.deepcopy(dict(ir))
    return cleaned, _clean(cleaned, cleaned["root"])


def contract_of(ir: Mapping[str, Any], component: Mapping[str, Any]) -> Contract | None:
    """The contract of a component of a pipeline; None for a DAG, and for a container that is not ours."""
    container = _executors(ir).get(component.get("executorLabel", ""), {}).get("container", {})
    command = container.get("command", [])
    if list(command[:2]) != ["claimed-med", "run"]:
        return None
    try:
        return registry.get(command[2]).contract
    except ClaimedMedError:
        return None


def _executors(ir: Mapping[str, Any]) -> dict[str, Any]:
    return dict(ir["deploymentSpec"]["executors"])


def _clean(ir: dict[str, Any], component: dict[str, Any]) -> dict[str, str]:
    """Clean one component in place; its own inputs that are places."""
    declared = component.get("inputDefinitions", {}).get("parameters", {})
    if "dag" not in component:
        contract = contract_of(ir, component)
        settings = contract.settings if contract is not None else ()
        places = {one.name: LOCATION if one.is_location else ADDRESS for one in settings if _is_place(one)}
        if contract is None and component.get("executorLabel", "") in _executors(ir):
            places = dict.fromkeys(declared, FOREIGN)
    else:
        places = {}
        for task in component["dag"].get("tasks", {}).values():
            inner = _clean(ir, ir["components"][task["componentRef"]["name"]])
            places |= _clean_task(task, inner)
    for name in places:
        if declared.get(name, {}).get("defaultValue"):
            declared[name]["defaultValue"] = ""
    return {name: kind for name, kind in places.items() if name in declared}


def _is_place(setting: Any) -> bool:
    return bool(setting.is_location or setting.is_address)


def _clean_task(task: dict[str, Any], places: Mapping[str, str]) -> dict[str, str]:
    """Clean the arguments of one task in place; the inputs of its DAG through which places come."""
    found = {}
    iterator = task.get("parameterIterator", {})
    for name, kind in places.items():
        source = task.get("inputs", {}).get("parameters", {}).get(name, {})
        if "runtimeValue" in source:
            source["runtimeValue"] = {"constant": ""}
        elif "componentInputParameter" in source:
            found[source["componentInputParameter"]] = kind
        if iterator.get("itemInput") == name:
            items = iterator["items"]
            if "raw" in items:
                items["raw"] = json.dumps(["" for _ in json.loads(items["raw"])])
            else:
                found[items["inputParameter"]] = kind
    return found
