"""Checks of the battery that need no run: words, names, settings, imports, command line, component.yaml, pickling."""

from __future__ import annotations

import ast
import inspect
import pickle
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimed_med.component import parse_argument, to_argument
from claimed_med.docstring import SECTIONS, parse
from claimed_med.errors import ContractError, require
from claimed_med.handles import KINDS
from claimed_med.run import parser
from claimed_med.targets import kfp

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from claimed_med.component import Component
    from claimed_med.contract import Setting

LONGEST_SUMMARY = 72
CORE = frozenset(f"claimed_med.{name}" for name in ("component", "contract", "errors", "handles"))
SUFFIXES = {"%": "percent", "°": "deg", "1/s": "per_s", "mm2": "mm2", "mm3": "mm3"}
KNOWN_SUFFIXES = frozenset("hu mm ml s ms deg percent gy mm2 mm3 cm kv ma t bq".split())


class CheckFailed(AssertionError):  # noqa: N818 - it reads as what it is
    """A component is not what every component must be; the text says what to change."""


def expect(condition: object, component: Component, text: str) -> None:
    """Raise when the condition does not hold.

    Raises:
        CheckFailed: With the component's name and the text.
    """
    if not condition:
        raise CheckFailed(f"{component.contract.name}: {text}")


def words_complete(component: Component) -> None:
    """Summary, ports and settings are described, nothing else is, and sections stand in their order."""
    contract, words = component.contract, parse(component.function.__doc__)
    expect(contract.summary, component, "the docstring has no summary")
    expect(
        len(contract.summary) <= LONGEST_SUMMARY, component, f"the summary is longer than {LONGEST_SUMMARY} characters"
    )
    arguments = {one.name for one in (*contract.inputs, *contract.settings)}  # type: ignore[attr-defined]
    outputs = {one.name for one in contract.outputs}
    for section, described, wanted in (("Args", words.args, arguments), ("Returns", words.returns, outputs)):
        expect(wanted <= described.keys(), component, f"{section} says nothing of {_listed(wanted - described.keys())}")
        expect(described.keys() <= wanted, component, f"{section} tells of {_listed(described.keys() - wanted)}")
        empty = {name for name, text in described.items() if not text}
        expect(not empty, component, f"{section} leaves {_listed(empty)} empty")
    order = [one for one in SECTIONS if one in words.sections]
    expect(list(words.sections) == order, component, f"the sections must stand in the order {', '.join(order)}")


def names_apart(component: Component) -> None:
    """The file bears the component's name, and ports and settings share no name (they share one command line)."""
    contract = component.contract
    expect(component.path.stem == contract.function, component, f"its file must be called {contract.function}.py")
    names = [one.name for one in contract.inputs] + [one.name for one in contract.outputs]
    names += [one.name for one in contract.settings]
    twice = {name for name in names if names.count(name) > 1}
    expect(not twice, component, f"two ports or settings are called {_listed(twice)}")
    kinds = {one.kind for one in (*contract.inputs, *contract.outputs) if not one.is_value}
    expect(kinds <= KINDS.keys(), component, f"unknown handles {_listed(kinds - KINDS.keys())}")


def defaults_in_range(component: Component) -> None:
    """Every default is a value that the setting itself accepts."""
    for setting in component.contract.settings:
        try:
            parse_argument(setting, to_argument(setting, setting.default), component.contract.name)
        except ContractError as error:
            expect(False, component, f"the default of {setting.name} is not allowed: {error}")


def unit_suffix(component: Component) -> None:
    """A setting that has a unit ends with it, and one that ends with a unit has it."""
    for setting in component.contract.settings:
        ending = setting.name.rsplit("_", 1)[-1]
        if setting.unit:
            suffix = SUFFIXES.get(setting.unit, re.sub(r"\W", "", setting.unit).lower())
            expect(
                setting.name.endswith(f"_{suffix}"),
                component,
                f"{setting.name} is in {setting.unit}: call it *_{suffix}",
            )
        elif setting.type in {int, float} and "_" in setting.name:
            expect(ending not in KNOWN_SUFFIXES, component, f"{setting.name} needs Unit(...) in its annotation")


def light_import(component: Component) -> None:
    """The top of the file imports the standard library and the core of claimed_med only."""
    tree = ast.parse(component.path.read_text(encoding="utf-8"))
    heavy = [name for name in _imported(tree) if not _is_light(name)]
    expect(not heavy, component, f"imports {_listed(heavy)} at the top of the file; move it into the body")


def command_line(component: Component) -> None:
    """The help names every port and setting, and every value comes back from the command line as it went in."""
    contract, line = component.contract, parser(component.contract)
    text = line.format_help()
    for name in (one.name for one in (*contract.inputs, *contract.outputs)):
        expect(f"--{name.replace('_', '-')}" in text, component, f"the help does not name {name}")
    ports = [word for one in contract.inputs for word in (f"--{one.name.replace('_', '-')}", "folder")]
    for setting in contract.settings:
        expect(setting.option in text, component, f"the help does not name {setting.name}")
        for value in _values(setting):
            given = _parsed(component, line, [*ports, setting.option, to_argument(setting, value)])
            back = parse_argument(setting, getattr(given, setting.name), contract.name)
            expect(back == value, component, f"{setting.option} {value!r} comes back as {back!r}")


def component_yaml(component: Component) -> None:
    """The generated component.yaml loads in kfp, has every port and setting, and compiles in a pipeline."""
    contract = component.contract
    require("kfp", "kfp")
    from kfp import compiler, components, dsl

    loaded = components.load_component_from_text(kfp.render(contract))
    spec = loaded.component_spec
    found = {*(spec.inputs or {}), *(spec.outputs or {})}
    wanted = {one.name for one in (*contract.inputs, *contract.outputs)} | {one.name for one in contract.settings}
    expect({_plain(one) for one in found} == {_plain(one) for one in wanted}, component, "component.yaml lacks a port")
    ports = {_plain(one.name) for one in contract.inputs}
    given = [name for name in spec.inputs or {} if _plain(name) in ports]

    def pipeline() -> None:
        sources = {
            name: dsl.importer(artifact_uri=f"file:///{name}", artifact_class=dsl.Artifact).output for name in given
        }
        loaded(**sources)

    pipeline.__annotations__ = {}  # kfp would take the text 'None' for a type
    with tempfile.TemporaryDirectory() as folder:
        made = dsl.pipeline(name="check")(pipeline)
        compiler.Compiler().compile(made, str(Path(folder) / "pipeline.yaml"))


def survives_pickling(component: Component) -> None:
    """A worker process gets the same component."""
    back = pickle.loads(pickle.dumps(component))  # noqa: S301 - our own bytes
    expect(back.contract == component.contract, component, "comes back from pickling as another component")
    expect(inspect.signature(back) == inspect.signature(component), component, "loses its signature in pickling")


def _parsed(component: Component, line: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    try:
        return line.parse_args(words)
    except SystemExit:
        raise CheckFailed(f"{component.contract.name}: the command line refuses {words[-2:]}") from None


def _imported(tree: ast.Module) -> Iterator[str]:
    """Modules that are imported when the file is, typing-only blocks left out."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "."
        elif isinstance(node, ast.If | ast.Try) and "TYPE_CHECKING" not in ast.dump(node):
            yield from _imported(ast.Module(node.body, []))


def _is_light(module: str) -> bool:
    return module.split(".", maxsplit=1)[0] in sys.stdlib_module_names or module == "claimed_med" or module in CORE


def _values(setting: Setting) -> list[Any]:
    given: list[Any] = [setting.default, *setting.choices]
    if setting.type is bool:
        given += [True, False]
    elif setting.type == list[str]:
        given += [[], ["two words", 'a "quote"', "ü"]]
    elif setting.low is not None:
        given += [setting.type(setting.low), setting.type(setting.high)]
    elif setting.type is str and not setting.choices:
        given += ["", 'two words, a "quote", $HOME and %s']
    return given


def _plain(name: str) -> str:
    return re.sub(r"\W|_", "", name).lower()


def _listed(names: Any) -> str:
    return ", ".join(sorted(names))
