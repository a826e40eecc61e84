"""A search space of hyperparameters: one small TOML text for Optuna here and for Katib on a cluster.

Standard library only; `models/search_spaces/` holds those that come with the package.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claimed_med.errors import ContractError

_HERE = Path(__file__).parent / "models" / "search_spaces"
TYPES = ("float", "int", "categorical")
DIRECTIONS = ("maximize", "minimize")
_OBJECTIVE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_PARAMETER = re.compile(r"[a-z][a-z0-9_]*")
_CHOICE = re.compile(r"[A-Za-z0-9_.,+/-][A-Za-z0-9_.,+/ -]*")  # they stand in TOML, in a shell's line and in JSON


@dataclass(frozen=True)
class Parameter:
    """One hyperparameter.

    Attributes:
        name: As in a recipe.
        type: `float`, `int` or `categorical`.
        low: Lowest value.
        high: Highest value.
        log: Whether it is drawn on a logarithmic scale.
        choices: Of a categorical one.
    """

    name: str
    type: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Space:
    """What is searched.

    Attributes:
        objective: Name of the metric.
        direction: `maximize` or `minimize`.
        n_trials: How many are tried.
        parameters: What is varied.
    """

    objective: str
    direction: str
    n_trials: int
    parameters: tuple[Parameter, ...]


def names() -> list[str]:
    """The search spaces that come with the package."""
    return sorted(path.stem for path in _HERE.glob("*.toml"))


def load(space: str) -> Space:
    """Read a search space.

    Args:
        space: The name of one that comes with the package, or the TOML text itself.

    Raises:
        ContractError: No such space, or one that cannot be understood.
    """
    if "=" not in space:
        if space not in names():
            raise ContractError("search space", "is unknown", got=repr(space), allowed=", ".join(names()))
        space = (_HERE / f"{space}.toml").read_text(encoding="utf-8")
    try:
        content = tomllib.loads(space)
    except tomllib.TOMLDecodeError as error:
        raise ContractError("search space", "the text is no TOML", got=str(error)) from None
    return _space(content)


def _space(content: Mapping[str, Any]) -> Space:
    fields = {"objective": str, "direction": str, "n_trials": int, "parameters": dict}
    _check_fields("the space", content, fields, required=tuple(fields))
    if content["direction"] not in DIRECTIONS:
        raise _error("direction is unknown", repr(content["direction"]), ", ".join(DIRECTIONS))
    if content["n_trials"] < 1 or not content["parameters"]:
        raise _error("needs at least one trial and one parameter", f"{content['n_trials']} trials")
    if not _OBJECTIVE.fullmatch(content["objective"]):
        raise _error("objective is no metric's name", repr(content["objective"]))
    parameters = tuple(_parameter(name, told) for name, told in content["parameters"].items())
    return Space(content["objective"], content["direction"], content["n_trials"], parameters)


def _parameter(name: str, told: Any) -> Parameter:
    if not _PARAMETER.fullmatch(name) or not isinstance(told, Mapping):
        raise _error("a parameter is not understood", repr(name), "[parameters.name] with a name as in a recipe")
    _check_fields(name, told, {"type": str, "low": object, "high": object, "log": bool, "choices": list}, ("type",))
    if told["type"] not in TYPES:
        raise _error(f"type of {name} is unknown", repr(told["type"]), ", ".join(TYPES))
    if told["type"] == "categorical":
        return _categorical(name, told)
    low, high = (_bound(name, told, end) for end in ("low", "high"))
    log = told.get("log", False)
    if "choices" in told or not low < high or (log and low <= 0):
        raise _error(f"{name} cannot be drawn", f"{low} ... {high}", "low < high; above 0 on a logarithmic scale")
    return Parameter(name, told["type"], low, high, log)


def _bound(name: str, told: Mapping[str, Any], end: str) -> float:
    value: Any = told.get(end)
    if told["type"] == "int" and type(value) is int:
        return value
    if told["type"] == "float" and type(value) in {int, float} and math.isfinite(float(value)):
        return float(value)
    raise _error(f"{name} needs {end} of type {told['type']}", repr(value))


def _categorical(name: str, told: Mapping[str, Any]) -> Parameter:
    choices = tuple(told.get("choices", ()))
    kinds = {type(one) for one in choices}
    plain = len(kinds) == 1 and kinds <= {str, int, float, bool} and len(set(choices)) == len(choices)
    if not plain or {"low", "high", "log"} & set(told):
        raise _error(f"{name} cannot be drawn", repr(list(choices)), "choices: different values of one type")
    if kinds == {str} and not all(_CHOICE.fullmatch(one) for one in choices):
        raise _error(
            f"a choice of {name} is no plain word", repr(list(choices)), "letters, digits, blanks and _ . , + / -"
        )
    return Parameter(name, "categorical", choices=choices)


def _check_fields(where: str, told: Mapping[str, Any], fields: Mapping[str, type], required: tuple[str, ...]) -> None:
    unknown, missing = sorted(set(told) - set(fields)), [name for name in required if name not in told]
    if unknown or missing:
        raise _error(f"fields of {where} are unknown or missing", ", ".join(unknown + missing), ", ".join(fields))
    for name, value in told.items():
        wanted = fields[name]
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is int):
            raise _error(f"{name} of {where} must be of type {wanted.__name__}", repr(value))


def _error(what: str, got: str, allowed: str = "") -> ContractError:
    return ContractError("search space", what, got=got, allowed=allowed)
