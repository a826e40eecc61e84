"""Import what the components of an image import, bodies of functions included: can the image run them at all?

`python -m claimed_med.testing.imports` inside an image prints, as JSON, every component that it carries (or those that
are named) with the imports that fail. Modules are really imported, so that a library which misses a shared object fails
here too.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import io
import json
import os
import sys
from typing import TYPE_CHECKING

from claimed_med import registry
from claimed_med.engines import code

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from claimed_med.component import Component

# inert until somebody loads them: whose payload a component never loads, it does not need the packages of
_HANDLES = ("handle.py", "handles.py", "plain_handles.py", "units.py", "registry.py", "run.py")
# engines and stores of the user's choice (`--engine spark`): their absence is said by name, the component runs without
_CHOSEN = ("pyspark",)


def failing(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Component -> import that fails -> why.

    Args:
        names: Of components.
    """
    known: dict[str, str] = {}
    return {name: _failing(registry.get(name), known) for name in names}


def carried(image: str) -> list[str]:
    """The components that name this image in their contract."""
    return [name for name in registry.names() if registry.get(name).contract.image == image]


def imports(component: Component) -> set[str]:
    """All that a component can import but the standard library: `module` or `module:name`."""
    found: set[str] = set()
    for path in code.reachable(component, _HANDLES):
        for node in ast.walk(ast.parse(path.read_bytes())):
            found.update(_named(node))
    return {one for one in found if one.split(".")[0].split(":")[0] not in {*sys.stdlib_module_names, *_CHOSEN}}


def _failing(component: Component, known: dict[str, str]) -> dict[str, str]:
    wanted = imports(component)
    for one in wanted - known.keys():
        known[one] = _try(*one.partition(":")[::2])
    return {one: known[one] for one in sorted(wanted) if known[one]}


def _named(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield from (f"{node.module}:{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require" and len(node.args) > 1:
        first = node.args[0]  # errors.require("module", "extra")
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            yield first.value


def _try(module: str, name: str) -> str:
    """Why an import fails, or ''."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            found = importlib.import_module(module)
            if name and not hasattr(found, name):
                importlib.import_module(f"{module}.{name}")
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is the finding
        return f"{type(error).__name__}: {error}"
    return ""


if __name__ == "__main__":
    sys.stdout.write(json.dumps(failing(sys.argv[1:] or carried(os.environ["CLAIMED_MED_IMAGE"]))) + "\n")
