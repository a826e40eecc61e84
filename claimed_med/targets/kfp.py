"""Contract in, Kubeflow `component.yaml` out: the older schema, which kfp 2.x and Elyra read. kfp is not imported.

Rules of its readers: every default is a text, booleans are declared String, no output name contains `output_`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claimed_med.component import to_argument, type_name
from claimed_med.emit import Quoted, to_yaml

if TYPE_CHECKING:
    from claimed_med.component import Contract, Port, Setting

REGISTRY = "claimed-med"
_TYPES: dict[Any, str] = {str: "String", int: "Integer", float: "Float", bool: "String"}
_KINDS = {"Table": "Dataset", "ModelBundle": "Model"}
_VALUES = {"str": "String", "int": "Integer", "float": "Float", "bool": "Boolean", "list[str]": "JsonArray"}


def render(contract: Contract) -> str:
    """The text of `component.yaml`."""
    head = "# Generated from the contract by `make generate`; never edited by hand.\n"
    return head + to_yaml(
        {
            "name": contract.function,
            "description": Quoted(contract.summary),
            "metadata": {"annotations": _annotations(contract)},
            "inputs": [*map(_input, contract.inputs), *map(_setting, contract.settings)],
            "outputs": [*map(_output, contract.outputs)],
            "implementation": {
                "container": {"image": image(contract), "command": command(contract), "args": _args(contract)}
            },
        }
    )


def image(contract: Contract) -> str:
    """The image's name; a platform may put another in its place by digest."""
    return f"{REGISTRY}/{contract.image}:{contract.version}"


def command(contract: Contract) -> list[str]:
    """The container's entry point: the same words as in a shell."""
    return ["claimed-med", "run", contract.name]


def _annotations(contract: Contract) -> dict[str, str]:
    kinds = {port.name: port.kind for port in (*contract.inputs, *contract.outputs)}
    made = {
        "version": contract.version,
        "category": contract.category,
        **({"group": contract.group} if contract.group else {}),
        **({"over": contract.over} if contract.over else {}),
        "handles": ", ".join(f"{name}={kind}" for name, kind in kinds.items()),
    }
    return {f"claimed-med/{name}": value for name, value in made.items()}


def _input(port: Port) -> dict[str, str]:
    return {
        "name": port.name,
        "type": _KINDS.get(port.kind, "Artifact"),
        "description": Quoted(f"{port.kind}. {port.summary}"),
    }


def _output(port: Port) -> dict[str, str]:
    kind = _VALUES[port.kind] if port.is_value else _KINDS.get(port.kind, "Artifact")
    return {"name": port.name, "type": kind, "description": Quoted(f"{port.kind}. {port.summary}")}


def _setting(setting: Setting) -> dict[str, str]:
    limits = (
        f" Range [{setting.low:g}, {setting.high:g}]." if setting.low is not None and setting.high is not None else ""
    )
    choices = f" One of {', '.join(setting.choices)}." if setting.choices else ""
    booleans = " true or false." if setting.type is bool else ""
    lists = " A JSON list of texts." if type_name(setting.type) == "list[str]" else ""
    return {
        "name": setting.name,
        "type": _TYPES.get(setting.type, "String"),
        "description": Quoted(f"{setting.summary}{limits}{choices}{booleans}{lists}"),
        "default": Quoted(to_argument(setting, setting.default)),
    }


def _args(contract: Contract) -> list[Any]:
    words: list[Any] = []
    for port in contract.inputs:
        words += [_option(port.name), {"inputPath": port.name}]
    for setting in contract.settings:
        words += [setting.option, {"inputValue": setting.name}]
    for port in contract.outputs:
        words += [_option(port.name), {"outputPath": port.name}]
    return words


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
