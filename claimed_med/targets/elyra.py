"""Plan in, an Elyra 4 `.pipeline` file out: nodes of the catalogue, laid out left to right, with typed forms.

Elyra has no conditions. A step under one stands in the picture without it: what takes a Decision refuses by itself
(exit code 6), and a branch without input ends with exit code 3.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from claimed_med.component import to_argument
from claimed_med.targets.plan import Plan, as_json_type, default_of

if TYPE_CHECKING:
    from claimed_med.contract import Contract, Setting
    from claimed_med.targets.plan import Parameter, Source, Step

CATALOG = "local-directory-catalog"
_COLUMN, _ROW, _LEFT, _TOP = 240, 110, 60, 60  # pixels of the canvas
_TYPES = {"integer": "Integer", "number": "Float", "boolean": "Bool"}
_WIDGETS: dict[Any, str] = {int: "integer", float: "number"}


def catalog(category: str, folder: str) -> str:
    """The metadata of one category as a directory catalogue: a JSON file for Jupyter's `metadata/component-catalogs`.

    Args:
        category: Name of the category; also that of the palette's drawer.
        folder: Absolute path of `components/<category>`.
    """
    content = {
        "display_name": f"claimed_med: {category}",
        "metadata": {
            "runtime_type": "KUBEFLOW_PIPELINES",
            "categories": [f"{category}"],
            "paths": [folder],
            "include_subdirs": True,
        },
        "schema_name": CATALOG,
    }
    return json.dumps(content, indent=2) + "\n"


def render(plan: Plan, contracts: Mapping[str, Contract]) -> str:
    """The `.pipeline` file.

    Args:
        plan: What is run.
        contracts: Component -> contract, of every step.
    """
    nodes = [_node(step, plan, contracts[step.component]) for step in plan.steps]
    content = {
        "doc_type": "pipeline",
        "version": "3.0",
        "json_schema": "http://api.dataplatform.ibm.com/schemas/common-pipeline/pipeline-flow/pipeline-flow-v3-schema.json",
        "id": "elyra-auto-generated-pipeline",
        "primary_pipeline": "primary",
        "pipelines": [
            {
                "id": "primary",
                "nodes": nodes,
                "app_data": {
                    "ui_data": {"comments": []},
                    "version": 8,
                    "runtime_type": "KUBEFLOW_PIPELINES",
                    "properties": {
                        "name": plan.name,
                        "description": plan.summary,
                        "runtime": "Kubeflow Pipelines",
                        "pipeline_parameters": [_parameter(one) for one in plan.parameters],
                        "pipeline_defaults": {},
                    },
                },
                "runtime_ref": "",
            }
        ],
        "schemas": [],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def op(contract: Contract) -> str:
    """How Elyra calls a component: catalogue type and a digest of its path inside the catalogue."""
    digest = hashlib.sha256(_path(contract).encode()).hexdigest()[:12]
    return f"{CATALOG}:{digest}"


def _path(contract: Contract) -> str:
    return f"{contract.name}/component.yaml"


def _id(plan: Plan, place: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"claimed-med/{plan.name}/{place}"))


def _parameter(one: Parameter) -> dict[str, Any]:
    kind = _TYPES.get(as_json_type(one), "String")
    value = default_of(one) if kind != "String" else _pasted(one.default)
    empty = {"Integer": 0, "Float": 0.0, "Bool": False}.get(kind, "")
    return {
        "name": one.name,
        "description": one.summary,
        "default_value": {"type": kind, "value": empty if value is None else value},
        "required": False,
    }


def _pasted(text: str | None) -> str | None:
    """A text that survives being pasted between double quotes, which is what Elyra's export does with defaults."""
    return None if text is None else text.replace("\\", "\\\\").replace('"', '\\"')


def _node(step: Step, plan: Plan, contract: Contract) -> dict[str, Any]:
    node_id = _id(plan, step.place)
    column, row = _position(step, plan)
    parents = dict.fromkeys(word.step for word in step.words if word.kind in {"folder", "value"})
    links = [
        {"id": _id(plan, f"{place}->{step.place}"), "node_id_ref": _id(plan, place), "port_id_ref": "outPort"}
        for place in parents
    ]
    return {
        "id": node_id,
        "type": "execution_node",
        "op": op(contract),
        "app_data": {
            "label": _label(step, plan),
            "component_parameters": _forms(step, plan, contract),
            "component_source": json.dumps({"catalog_type": CATALOG, "component_ref": {"path": _path(contract)}}),
            "ui_data": {
                "label": _label(step, plan),
                "x_pos": _LEFT + column * _COLUMN,
                "y_pos": _TOP + row * _ROW,
                "description": contract.summary,
            },
        },
        "inputs": [_port("inPort", "Input Port", links)],
        "outputs": [_port("outPort", "Output Port", [])],
    }


def _port(name: str, label: str, links: list[dict[str, str]]) -> dict[str, Any]:
    ui_data = {"cardinality": {"min": 0, "max": -1}, "id": name, "label": label}
    return {"id": name, "app_data": {"ui_data": ui_data}, **({"links": links} if links else {})}


def _label(step: Step, plan: Plan) -> str:
    same = [one.place for one in plan.steps if one.component == step.component]
    return step.component if len(same) == 1 else f"{step.component} ({same.index(step.place) + 1})"


def _position(step: Step, plan: Plan) -> tuple[int, int]:
    """Column by the longest way from a start; row by the order in the column."""
    columns: dict[str, int] = {}
    for one in plan.steps:
        columns[one.place] = 1 + max((columns[place] for place in one.after), default=-1)
    mine = [one.place for one in plan.steps if columns[one.place] == columns[step.place]]
    return columns[step.place], mine.index(step.place)


def _forms(step: Step, plan: Plan, contract: Contract) -> dict[str, Any]:
    given = {
        option.name.removeprefix("--").replace("-", "_"): value
        for option, value in zip(step.words[1::2], step.words[2::2], strict=True)
    }
    made: dict[str, Any] = {port.name: _linked(plan, given[port.name]) for port in contract.inputs}
    for setting in contract.settings:
        made[setting.name] = _value(plan, setting, given.get(setting.name))
    if contract.talks or any(one.is_location for one in contract.settings):
        made["disable_node_caching"] = "True"
    return made


def _linked(plan: Plan, source: Source) -> dict[str, Any]:
    return {
        "value": {"value": _id(plan, source.step), "option": f"output_{source.name}"},
        "widget": "inputpath",
    }


def _value(plan: Plan, setting: Setting, source: Source | None) -> dict[str, Any]:
    if source is not None and source.kind == "value":
        return _linked(plan, source)
    if source is not None and source.kind == "parameter":
        return {"value": source.name, "widget": "parameter"}
    text = source.name if source is not None else to_argument(setting, setting.default)
    if setting.type in _WIDGETS:
        return {"value": setting.type(float(text)), "widget": _WIDGETS[setting.type]}
    return {"value": text, "widget": "string"}
