"""A component: a typed function with a declared contract. The signature *is* the contract.

Ports are the positional parameters and the return value, typed with a handle; settings are keyword-only;
the words come from the docstring. Everything else (command line, component.yaml, docs, lineage) is derived
from the `Contract` that `@component` attaches. Standard library only.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

from claimed_med.docstring import Docstring, parse
from claimed_med.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

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
    example: Mapping[str, Any]
    summary: str
    description: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    settings: tuple[Setting, ...]
    raises: str
    source: str

    def input(self, name: str) -> Port:
        """The input port of that name."""
        return _by_name(self.inputs, name, f"{self.name}: input port")

    def output(self, name: str) -> Port:
        """The output port of that name."""
        return _by_name(self.outputs, name, f"{self.name}: output port")

    def setting(self, name: str) -> Setting:
        """The setting of that name."""
        return _by_name(self.settings, name, f"{self.name}: setting")

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
                    "summary": s.summary,
                }
                for s in self.settings
            ],
        }


_running: ContextVar[Contract | None] = ContextVar("claimed_med_running", default=None)


def current() -> Contract | None:
    """The contract of the component that is running now, or None outside of a component."""
    return _running.get()


@contextmanager
def running(contract: Contract) -> Iterator[None]:
    """Declare `contract` the running component for the encoders that write its name into DICOM."""
    token = _running.set(contract)
    try:
        yield
    finally:
        _running.reset(token)


class Component:
    """A function with a contract; calling it runs it in this process and keeps the result in memory."""

    def __init__(self, function: Callable[..., Any], contract: Contract, path: Path) -> None:
        self.function = function
        self.contract = contract
        self.path = path
        functools.update_wrapper(self, function)

    def __call__(self, *ports: Any, **settings: Any) -> Any:
        """Check ports and settings, run, and return handles whose objects are in memory.

        Raises:
            ContractError: A port or setting that the contract does not allow.
        """
        from claimed_med.run import call

        return call(self, ports, settings)

    def __repr__(self) -> str:
        return f"<component {self.contract.name} {self.contract.version}>"

    def __reduce__(self) -> tuple[Any, ...]:
        from claimed_med.registry import from_file

        return from_file, (str(self.path), self.contract.category)


def component(
    *,
    version: str,
    image: str = "cpu",
    tags: tuple[str, ...] = (),
    over: Over = "",
    group: str = "",
    threads: int = 1,
    weights: str = "",
    example: Mapping[str, Any] | None = None,
    category: str = "",
) -> Callable[[Callable[..., Any]], Component]:
    """Make a component of a typed function.

    Args:
        version: Semantic version; part of the identity of every run.
        image: Extra and container image that it needs (`cpu`, `torch`, ...).
        tags: Words to search for.
        over: Unit of work over which a folder is mapped, or '' for a component of the whole folder.
        group: Group within the category `metric`.
        threads: Threads that one unit uses; recorded, never taken from the machine.
        weights: `module:function` that returns the sha256 of the weights it uses.
        example: Input port -> name of an example phantom, setting -> value; run by the conformance battery.
        category: Category; taken from the module's folder when it lies in `claimed_med.components`.

    Raises:
        ContractError: The signature cannot be a contract.
    """

    def decorate(function: Callable[..., Any]) -> Component:
        from pathlib import Path

        words = parse(function.__doc__)
        contract = Contract(
            name=function.__name__.replace("_", "-"),
            function=function.__name__,
            module=function.__module__,
            category=category or _category_of(function),
            group=group,
            version=version,
            image=image,
            tags=tags,
            over=over,
            threads=threads,
            weights=weights,
            example=dict(example or {}),
            summary=words.summary,
            description=words.description,
            **_signature(function, words),
            raises=words.raises,
            source=words.source,
        )
        _check(contract)
        return Component(function, contract, Path(function.__code__.co_filename))

    return decorate


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
        raise ContractError(
            where, f"{setting.name} must lie in [{setting.low:g}, {setting.high:g}]{unit}", got=value
        )
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


def _category_of(function: Callable[..., Any]) -> str:
    parts = function.__module__.split(".")
    return parts[2] if parts[:2] == ["claimed_med", "components"] and len(parts) > 3 else "local"


def _signature(function: Callable[..., Any], words: Docstring) -> dict[str, Any]:
    hints = get_type_hints(function, include_extras=True)
    inputs, settings = [], []
    for parameter in inspect.signature(function).parameters.values():
        hint = hints.get(parameter.name)
        if hint is None:
            raise ContractError(function.__name__, f"parameter {parameter.name} has no type")
        summary = words.args.get(parameter.name, "")
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            settings.append(_setting(function.__name__, parameter, hint, summary))
        else:
            inputs.append(Port(parameter.name, _kind(function.__name__, hint), summary))
    outputs = _outputs(function.__name__, hints.get("return"), words)
    return {"inputs": tuple(inputs), "outputs": outputs, "settings": tuple(settings)}


def _setting(where: str, parameter: inspect.Parameter, hint: Any, summary: str) -> Setting:
    marks: tuple[Any, ...] = ()
    if get_origin(hint) is Annotated:
        hint, *rest = get_args(hint)
        marks = tuple(rest)
    choices: tuple[str, ...] = ()
    if get_origin(hint) is Literal:
        choices, hint = get_args(hint), str
    if hint not in VALUE_TYPES:
        raise ContractError(where, f"setting {parameter.name} has a type that no engine can pass", got=str(hint))
    if parameter.default is inspect.Parameter.empty:
        raise ContractError(where, f"setting {parameter.name} has no default", do="use '', 0 or 'auto'")
    if parameter.default is None:
        raise ContractError(where, f"setting {parameter.name} may not be None", do="use '', 0 or 'auto'")
    interval = next((mark for mark in marks if isinstance(mark, Interval)), None)
    return Setting(
        name=parameter.name,
        type=hint,
        default=parameter.default,
        summary=summary,
        unit=next((mark.symbol for mark in marks if isinstance(mark, Unit)), ""),
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        choices=choices,
        is_location=any(isinstance(mark, Location) for mark in marks),
    )


def _outputs(where: str, hint: Any, words: Docstring) -> tuple[Port, ...]:
    if hint is None:
        raise ContractError(where, "the return type is missing")
    if isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
        fields = get_type_hints(hint)
        return tuple(Port(name, _kind(where, fields[name]), words.returns.get(name, "")) for name in hint._fields)
    if not words.returns:
        raise ContractError(where, "the docstring names no output", do="write 'Returns:' with one 'name: text' line")
    name, summary = next(iter(words.returns.items()))
    return (Port(name, _kind(where, hint), summary),)


def _kind(where: str, hint: Any) -> str:
    from claimed_med.handles import Handle

    if hint in VALUE_TYPES:
        return type_name(hint)
    if isinstance(hint, type) and issubclass(hint, Handle):
        return hint.__name__
    raise ContractError(where, "a port has a type that is neither a handle nor a value", got=str(hint))


def _check(contract: Contract) -> None:
    names = [one.name for one in (*contract.inputs, *contract.settings, *contract.outputs)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ContractError(contract.name, "inputs, settings and outputs share names", got=", ".join(twice))
    if contract.over and any(port.is_value for port in contract.outputs):
        raise ContractError(contract.name, "a component with over= cannot have value outputs", do="return a Report")
    if any(port.is_value for port in contract.inputs):
        raise ContractError(contract.name, "an input port cannot be a value", do="make it a keyword-only setting")
    for setting in contract.settings:
        check_value(setting, setting.default, contract.name)


def _by_name(fields: tuple[Any, ...], name: str, where: str) -> Any:
    for one in fields:
        if one.name == name:
            return one
    raise ContractError(where, "is unknown", got=repr(name), allowed=", ".join(one.name for one in fields))
