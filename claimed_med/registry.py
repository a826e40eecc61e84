"""Find components by name. Nothing is registered by hand: a component is a file.

Three places are looked at, in this order: `claimed_med/components/<category>/`, the folders named in the environment
variable CLAIMED_MED_COMPONENTS, and the entry points `claimed_med.components` of other packages
(`segment-spleen = their_package.segment_spleen:segment_spleen`).
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.util
import os
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from claimed_med.component import Component
from claimed_med.errors import ContractError

GROUP = "claimed_med.components"
ENVIRONMENT = "CLAIMED_MED_COMPONENTS"
_HOME = Path(__file__).parent / "components"


def names() -> list[str]:
    """The kebab-case names of all components, sorted; none is imported."""
    return sorted({*_builtin(), *_local(), *_foreign()})


def get(name: str) -> Component:
    """The component of that name (kebab or snake case), or of that `.py` file.

    Raises:
        ContractError: There is none; the nearest names are suggested.
    """
    if name.endswith(".py"):
        return from_file(name)
    key = name.replace("_", "-")
    if key in (builtin := _builtin()):
        return _of_module(importlib.import_module(builtin[key]), key)
    if key in (local := _local()):
        return from_file(local[key])
    if key in (foreign := _foreign()):
        loaded = foreign[key].load()
        if not isinstance(loaded, Component):
            raise ContractError(key, "the entry point is no component", got=foreign[key].value)
        return loaded
    near = difflib.get_close_matches(key, names(), 3)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise ContractError("registry", "there is no such component", got=repr(name), do=f"{hint}see: claimed-med list")


def from_file(path: str, category: str = "local") -> Component:
    """The component of a `.py` file that bears the component's name.

    Raises:
        ContractError: The file does not exist, or does not define the component that its name promises.
    """
    file = Path(path).resolve()
    if file.is_relative_to(_HOME):
        dotted = file.relative_to(_HOME.parent.parent).with_suffix("").as_posix().replace("/", ".")
        return _of_module(importlib.import_module(dotted), file.stem)
    name = f"claimed_med_{category}.{file.stem}"
    module = sys.modules.get(name)
    if module is None or getattr(module, "__file__", None) != str(file):
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None or not file.is_file():
            raise ContractError("registry", "there is no such component file", got=repr(file.name))
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return _of_module(module, file.stem)


def _of_module(module: object, name: str) -> Component:
    found = getattr(module, name.replace("-", "_"), None)
    if not isinstance(found, Component):
        raise ContractError(name, "the file defines no component of its own name", do="one file, one component")
    return found


@functools.cache
def _builtin() -> dict[str, str]:
    return {
        file.stem.replace("_", "-"): f"claimed_med.components.{folder.name}.{file.stem}"
        for folder in _HOME.iterdir()
        if folder.is_dir() and not folder.name.startswith(("_", "."))
        for file in folder.glob("[!_]*.py")
    }


def _local() -> dict[str, str]:
    folders = [Path(one) for one in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if one]
    return {file.stem.replace("_", "-"): str(file) for folder in folders for file in folder.glob("[!_]*.py")}


@functools.cache
def _foreign() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
