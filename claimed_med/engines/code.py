"""The digest of a component's code: its file, every claimed_med module that it can reach, and its extra's packages."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import re
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING

from claimed_med.engines import syntax
from claimed_med.payload import sha256_of, write_atomic

if TYPE_CHECKING:
    from collections.abc import Collection

    from claimed_med.component import Component

PACKAGE = "claimed_med"
_HOME = Path(__file__).parent.parent
_NAME = re.compile(r"^[A-Za-z0-9_.-]+")


def code_digest(component: Component, notes: Path | None = None) -> str:
    """Digest all code and packages that decide what a component computes.

    Args:
        component: The component.
        notes: A file that remembers what each module imports, by its size and time; or None.
    """
    reader = _Reader(notes)
    files = sorted(reader.reachable(component.path.resolve()))
    reader.keep()
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{_name(path)}\0{reader.told[str(path)][1]}\n".encode())
    digest.update(json.dumps(packages(component.contract.image)).encode())
    return digest.hexdigest()


@functools.cache
def packages(extra: str) -> tuple[tuple[str, str], ...]:
    """Name and version of every package that the core and this extra pin."""
    try:
        wanted = requires(PACKAGE) or []
    except PackageNotFoundError:
        return ()
    found = []
    for line in wanted:
        name = _NAME.match(line)
        marker = line.partition(";")[2]
        if name and ("extra" not in marker or f'"{extra}"' in marker.replace("'", '"')):
            try:
                found.append((name.group(), version(name.group())))
            except PackageNotFoundError:
                found.append((name.group(), ""))
    return tuple(sorted(found))


def reachable(component: Component, barred: Collection[str] = ()) -> list[Path]:
    """Every module file of this library that a component can reach by its imports, its own file among them.

    Args:
        component: The component.
        barred: Modules (`handles.py`) whose imports are not followed, and that are left out.
    """
    return sorted(_Reader(None).reachable(component.path.resolve(), barred))


def _name(path: Path) -> str:
    return path.relative_to(_HOME).as_posix() if path.is_relative_to(_HOME) else path.name


class _Reader:
    """Reads imports of modules, bodies of functions included, and remembers them between runs."""

    def __init__(self, notes: Path | None) -> None:
        self.notes = notes
        self.told: dict[str, tuple[str, str, list[str]]] = {}
        self.fresh = False
        if notes is not None and notes.is_file():
            try:
                self.told = json.loads(notes.read_text(encoding="utf-8"))
            except ValueError:
                self.told = {}

    def reachable(self, start: Path, barred: Collection[str] = ()) -> set[Path]:
        """Every module file that can be reached from `start`, but not through those that are barred."""
        found: set[Path] = set()
        todo = [start]
        while todo:
            path = todo.pop()
            if path not in found and _name(path) not in barred:
                found.add(path)
                todo += [Path(one) for one in self._imports(path)]
        return found

    def keep(self) -> None:
        """Write what was learned."""
        if self.notes is not None and self.fresh:
            self.notes.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self.notes, json.dumps(self.told))

    def _imports(self, path: Path) -> list[str]:
        state = path.stat()
        stamp = f"{state.st_size} {state.st_mtime_ns}"
        known = self.told.get(str(path))
        if known is None or known[0] != stamp:
            tree = syntax.module(path.read_bytes())
            imports = sorted({str(file) for node in ast.walk(tree) for file in _targets(node)})
            known = (stamp, sha256_of(path), imports)
            self.told[str(path)] = known
            self.fresh = True
        return known[2]


def _targets(node: ast.AST) -> list[Path]:
    names: list[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [file for name in names if name.split(".")[0] == PACKAGE for file in _files(name)]


@functools.cache
def _files(name: str) -> tuple[Path, ...]:
    base = _HOME.joinpath(*name.split(".")[1:])
    both = (base.with_suffix(".py"), base / "__init__.py")
    return tuple(file for file in both if file.is_file() and file != _HOME / "__init__.py")
