"""What is known of a component without running it: ports, settings, words. Standard library only."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_origin

from claimed_med.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Mapping

Over = Literal["", "series", "study", "patient", "instance"]
VALUE_TYPES: tuple[Any, ...] = (str, int, float, bool, list[str])


@dataclass(frozen=True)
class Unit:
    """The physical unit of a setting; its suffix must be the suffix of the setting's name (`_hu`, `_mm`)."""

    symbol: str


@dataclass(frozen=True)
class Interval:
    """The closed range in which a numeric setting must lie."""

    low: float
    high: float


@dataclass(frozen=True)
class Location:
    """Marks a string setting as a path or URI through which data enters.

    Its content is digested for identity and cache; the text itself is never recorded.
    """


@dataclass(frozen=True)
class Address:
    """Marks a setting that names a server, or what to ask of it: it may name a site or a patient.

    Never recorded, and no part of the identity. A component with such a setting talks to the outside, so an earlier
    result never stands for a new run.
    """


@dataclass(frozen=True)
class Port:
    """An input or output of a component.

    Attributes:
        name: A noun, as in the signature.
        kind: Name of the handle class, or of a value type (`str`, `int`, `float`, `bool`, `list[str]`).
        summary: What it holds, from the docstring.
    """

    name: str
    kind: str
    summary: str

    @property
    def is_value(self) -> bool:
        """Whether this is a parameter output (text) rather than a folder."""
        return self.kind in {type_name(one) for one in VALUE_TYPES}


@dataclass(frozen=True)
class Setting:
    """A keyword-only parameter of a component.

    Attributes:
        name: As in the signature, with the unit as suffix.
        type: One of `VALUE_TYPES`.
        default: A value of that type, never None.
        summary: From the docstring.
        unit: Symbol of its `Unit`, or ''.
        low: Lowest allowed value, or None.
        high: Highest allowed value, or None.
        choices: Allowed texts of a `Literal`, or empty.
        is_location: Whether data enters through it.
        is_address: Whether it names a server, or what to ask of it.
    """

    name: str
    type: Any
    default: Any
    summary: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    is_location: bool = False
    is_address: bool = False

    @property
    def option(self) -> str:
        """The command-line option, `--threshold-hu`."""
        return "--" + self.name.replace("_", "-")


@dataclass(frozen=True)
class Contract:
    """All that is known of a component without running it."""

    name: str
    function: str
    module: str
    category: str
    group: str
    version: str
    image: str
    tags: tuple[str, ...]
    over: Over
    threads: int
    weights: str
    border: bool
    example: Mapping[str, Any]
    summary: str
    description: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    settings: tuple[Setting, ...]
    raises: str
    source: str

    @property
    def talks(self) -> bool:
        """Whether the component talks to a server."""
        return any(one.is_address for one in self.settings)

    def input(self, name: str) -> Port:
        """The input port of that name."""
        found: Port = _by_name(self.inputs, name, f"{self.name}: input port")
        return found

    def output(self, name: str) -> Port:
        """The output port of that name."""
        found: Port = _by_name(self.outputs, name, f"{self.name}: output port")
        return found

    def setting(self, name: str) -> Setting:
        """The setting of that name."""
        found: Setting = _by_name(self.settings, name, f"{self.name}: setting")
        return found

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready view: what `claimed-med list --json` prints."""
        return {
            "name": self.name,
            "category": self.category,
            "group": self.group,
            "version": self.version,
            "image": self.image,
            "over": self.over,
            "tags": list(self.tags),
            "summary": self.summary,
            "inputs": [{"name": p.name, "kind": p.kind, "summary": p.summary} for p in self.inputs],
            "outputs": [{"name": p.name, "kind": p.kind, "summary": p.summary} for p in self.outputs],
            "settings": [
                {
                    "name": s.name,
                    "type": type_name(s.type),
                    "default": s.default,
                    "unit": s.unit,
                    "range": None if s.low is None else [s.low, s.high],
                    "choices": list(s.choices),
                    "location": s.is_location,
                    "address": s.is_address,
                    "summary": s.summary,
                }
                for s in self.settings
            ],
        }


def type_name(kind: Any) -> str:
    """The name of a value type, `list[str]` included."""
    return "list[str]" if kind == list[str] else kind.__name__


def to_argument(setting: Setting, value: Any) -> str:
    """Write a setting's value as one command-line word; booleans as `true|false`, lists as JSON."""
    if setting.type is bool:
        return "true" if value else "false"
    return json.dumps(value) if setting.type == list[str] else str(value)


def parse_argument(setting: Setting, text: str, where: str = "setting") -> Any:
    """Read a setting's value from one command-line word.

    Raises:
        ContractError: The word is no value of the setting's type, or out of its range.
    """
    try:
        value = _parsed(setting.type, text)
    except ValueError:
        raise ContractError(
            where, f"{setting.name} must be {_wanted(setting)}", got=repr(text), do=f"see: claimed-med show {where}"
        ) from None
    return check_value(setting, value, where)


def check_value(setting: Setting, value: Any, where: str) -> Any:
    """Check a setting's value against type, range and choices; ints are accepted as floats.

    Raises:
        ContractError: The value is not allowed.
    """
    plain = get_origin(setting.type) or setting.type
    if setting.type is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    fits = isinstance(value, plain) and (plain is bool or not isinstance(value, bool))
    if setting.type == list[str]:
        fits = isinstance(value, list) and all(isinstance(one, str) for one in value)
    if not fits:
        raise ContractError(where, f"{setting.name} must be {_wanted(setting)}", got=repr(value))
    if setting.choices and value not in setting.choices:
        raise ContractError(
            where, f"{setting.name} is unknown", got=repr(value), allowed=", ".join(map(repr, setting.choices))
        )
    if setting.low is not None and setting.high is not None and not setting.low <= value <= setting.high:
        unit = f" {setting.unit}" if setting.unit else ""
        raise ContractError(where, f"{setting.name} must lie in [{setting.low:g}, {setting.high:g}]{unit}", got=value)
    return value


def _parsed(kind: Any, text: str) -> Any:
    if kind is bool:
        if text.lower() not in {"true", "false"}:
            raise ValueError(text)
        return text.lower() == "true"
    if kind == list[str]:
        value = json.loads(text)
        if not isinstance(value, list):
            raise ValueError(text)
        return [str(one) for one in value]
    if kind is int:
        number = float(text)  # engines hand integers over as floats
        if number != int(number):
            raise ValueError(text)
        return int(text) if re.fullmatch(r"[+-]?\d+", text) else int(number)
    return kind(text)


def _wanted(setting: Setting) -> str:
    return {bool: "true or false", list[str]: 'a JSON list such as ["a", "b"]'}.get(
        setting.type, f"a value of type {type_name(setting.type)}"
    )


def _by_name(fields: tuple[Any, ...], name: str, where: str) -> Any:
    for one in fields:
        if one.name == name:
            return one
    raise ContractError(where, "is unknown", got=repr(name), allowed=", ".join(one.name for one in fields))
