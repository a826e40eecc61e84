"""A search space of hyperparameters: one small TOML text for Optuna here and for Katib on a cluster. Stdlib only.

    objective = "validation_auc"
    direction = "maximize"
    n_trials = 12
    [parameters.learning_rate]
    type = "float"
    low = 0.0001
    high = 0.01
    log = true
    [parameters.batch_size]
    type = "categorical"
    choices = [8, 16, 32]
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claimed_med.errors import ContractError

_HERE = Path(__file__).parent / "models" / "search_spaces"
TYPES = ("float", "int", "categorical")


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
    try:
        parameters = tuple(_parameter(name, told) for name, told in content.pop("parameters").items())
        made = Space(parameters=parameters, **content)
    except (TypeError, KeyError, AttributeError) as error:
        raise ContractError(
            "search space", "is not complete", got=str(error), allowed="objective, direction, n_trials, parameters"
        ) from None
    if made.direction not in {"maximize", "minimize"} or made.n_trials < 1 or not parameters:
        raise ContractError("search space", "needs a direction, trials and parameters", got=made.direction)
    return made


def _parameter(name: str, told: Mapping[str, Any]) -> Parameter:
    made = Parameter(name=name, **{**told, "choices": tuple(told.get("choices", ()))})
    sound = bool(made.choices) if made.type == "categorical" else made.low < made.high and not (made.log and made.low <= 0)
    if made.type not in TYPES or not sound:
        raise ContractError(
            "search space", f"{name} cannot be drawn", got=made.type, allowed="float or int with low < high, categorical with choices"
        )
    return made
