"""A component: a typed function with a declared contract. The signature *is* the contract.

Ports are the positional parameters and the return value, typed with a handle; settings are keyword-only;
the words come from the docstring. Everything else (command line, component.yaml, docs, lineage) is derived
from the `Contract` that `@component` attaches. Standard library only.
"""

from __future__ import annotations

import functools
import inspect
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

from claimed_med.contract import (
    VALUE_TYPES,
    Address,
    Contract,
    Interval,
    Location,
    Over,
    Port,
    Setting,
    Unit,
    check_value,
    parse_argument,
    to_argument,
    type_name,
)
from claimed_med.docstring import Docstring, parse
from claimed_med.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

__all__ = [
    "Address",
    "Component",
    "Contract",
    "Interval",
    "Location",
    "Over",
    "Port",
    "Running",
    "Setting",
    "Unit",
    "check_value",
    "component",
    "current",
    "current_identity",
    "digest_of_input",
    "parse_argument",
    "running",
    "state",
    "to_argument",
    "type_name",
]


@dataclass
class Running:
    """A run that is going on.

    Attributes:
        contract: Of the component.
        identity: Of the run; '' when it is not known.
        inputs: Input port -> payload digest.
        statements: What the component says about this run, for its lineage record.
    """

    contract: Contract
    identity: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    statements: dict[str, str] = field(default_factory=dict)


_running: ContextVar[Running | None] = ContextVar("claimed_med_running", default=None)


def current() -> Contract | None:
    """The contract of the component that is running now, or None outside of a component."""
    run = _running.get()
    return run.contract if run else None


def current_identity() -> str:
    """The identity of the run that goes on, or '' outside of a component."""
    run = _running.get()
    return run.identity if run else ""


def digest_of_input(port: str) -> str:
    """The payload digest of an input port of the run that goes on, or '' outside of a component."""
    run = _running.get()
    return run.inputs.get(port, "") if run else ""


def state(**statements: str) -> None:
    """Write something about this run into its lineage record: `state(precision="bfloat16")`. No patient attribute."""
    run = _running.get()
    if run:
        run.statements.update(statements)


@contextmanager
def running(contract: Contract, identity: str = "", inputs: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Declare `contract` the running component for the encoders that write its name into DICOM."""
    run = Running(contract, identity, inputs or {})
    token = _running.set(run)
    try:
        yield run
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
    border: bool = False,
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
        border: Whether lineage ends here: the record names what went in by keyed hashes only (de-identification).
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
            border=border,
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
        is_address=any(isinstance(mark, Address) for mark in marks),
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
    from claimed_med.handle import Handle

    if hint in VALUE_TYPES:
        return type_name(hint)
    if isinstance(hint, type) and issubclass(hint, Handle):
        return hint.__name__
    raise ContractError(where, "a port has a type that is neither a handle nor a value", got=str(hint))


def _check(contract: Contract) -> None:
    ports = [port.name for port in (*contract.inputs, *contract.outputs)]
    names = [*ports, *(setting.name for setting in contract.settings)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ContractError(contract.name, "inputs, settings and outputs share names", got=", ".join(twice))
    if contract.over and any(port.is_value for port in contract.outputs):
        raise ContractError(contract.name, "a component with over= cannot have value outputs", do="return a Report")
    if any(port.is_value for port in contract.inputs):
        raise ContractError(contract.name, "an input port cannot be a value", do="make it a keyword-only setting")
    for setting in contract.settings:
        check_value(setting, setting.default, contract.name)
