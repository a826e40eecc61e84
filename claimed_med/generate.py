"""`claimed-med generate [--check]`: write everything that is derived from the contracts, or tell what is out of date.

Derived are `components/<category>/<name>/component.yaml`, `docs/components/*.md`, the table in README.md, the stub
`claimed_med/__init__.pyi`, the pipelines for Elyra and, where kfp is installed, the compiled ones. Standard library
only at the top.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import claimed_med
from claimed_med import registry
from claimed_med.errors import ContractError, InputError, OutputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claimed_med.contract import Contract

BEGIN, END = "<!-- components: begin -->\n", "<!-- components: end -->\n"
_FOLDERS = (("components", "component.yaml"), ("docs/components", "*.md"))


def main(words: Sequence[str]) -> int:
    """`claimed-med generate [--check] [--root FOLDER]`; the exit code.

    Raises:
        InputError: There is no checkout at the root.
        OutputError: With --check: a generated file is not what the contracts say.
    """
    parser = argparse.ArgumentParser(
        prog="claimed-med generate", description="Write every file that is derived from the components' contracts."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is out of date")
    parser.add_argument("--root", type=Path, default=checkout(), help="the checkout to write into (default: this one)")
    arguments = parser.parse_args(list(words))
    root: Path = arguments.root
    if not (root / "README.md").is_file():
        raise InputError("generate", "--root names no checkout", do="name the folder with README.md and claimed_med/")
    wanted = files(root)
    stale = out_of_date(root, wanted)
    if not arguments.check:
        _write(root, wanted, stale)
    pipelines = compiled(root)
    stale_pipelines = [path for path, text in pipelines.items() if not _holds(root / path, text)]
    if not arguments.check:
        _write(root, pipelines, stale_pipelines)
    drawn = canvases(root)
    stale_pipelines += [path for path, text in drawn.items() if not _holds(root / path, text)]
    pipelines |= drawn
    if not arguments.check:
        _write(root, drawn, [path for path, text in drawn.items() if not _holds(root / path, text)])
        print(f"{len(stale + stale_pipelines)} of {len(wanted | pipelines)} generated files written")
    elif stale + stale_pipelines:
        names = ", ".join(path.as_posix() for path in stale + stale_pipelines)
        raise OutputError("generate", "files are out of date", got=names, do="run: make generate")
    else:
        print(f"{len(wanted | pipelines)} generated files are up to date")
    return 0


def checkout() -> Path:
    """The root of the checkout in which this package lies."""
    return Path(__file__).resolve().parent.parent


def contracts() -> list[Contract]:
    """The contracts of the components that this package brings, sorted by name."""
    found = [registry.get(name) for name in registry.names()]
    home = Path(__file__).resolve().parent / "components"
    return [one.contract for one in found if one.path.resolve().is_relative_to(home)]


def files(root: Path) -> dict[Path, str]:
    """Every generated file but the compiled pipelines: path relative to the checkout -> text.

    Raises:
        ContractError: README.md has no place for the table.
    """
    from claimed_med.targets import docs, kfp, stub

    known = contracts()
    wanted = {Path("components") / one.category / one.name / "component.yaml": kfp.render(one) for one in known}
    wanted |= {Path("docs/components") / f"{one.name}.md": docs.render(one) for one in known}
    wanted[Path("docs/components/index.md")] = docs.index(known)
    wanted[Path("claimed_med/__init__.pyi")] = stub.render(known, eager_names())
    wanted[Path("README.md")] = _with_table(root / "README.md", docs.table(known, "docs/components/"))
    return wanted


def compiled(root: Path) -> dict[Path, str]:
    """The compiled pipelines: path relative to the checkout -> text; empty, with a line, where kfp is not installed."""
    sources = sorted((root / "pipelines").glob("[!_]*.py"))
    if sources and find_spec("kfp") is None:
        print("pipelines are left as they are: kfp is not installed")
        return {}
    from claimed_med.engines.compile import compile_text

    return {path.with_suffix(".yaml").relative_to(root): compile_text(path) for path in sources}


def canvases(root: Path) -> dict[Path, str]:
    """The pipelines for Elyra's editor, made of the compiled ones: path relative to the checkout -> text."""
    from claimed_med.engines.flatten import flatten
    from claimed_med.engines.ir import load
    from claimed_med.targets import elyra

    known = {one.name: one for one in contracts()}
    found = {}
    for path in sorted((root / "pipelines").glob("[!_]*.yaml")):
        plan = flatten(load(path))
        found[path.with_suffix(".pipeline").relative_to(root)] = elyra.render(plan, known)
    return found


def eager_names() -> dict[str, str]:
    """The public names that `import claimed_med` brings at once -> the module that defines each."""
    return {name: getattr(claimed_med, name).__module__ for name in claimed_med.__all__}


def out_of_date(root: Path, wanted: dict[Path, str]) -> list[Path]:
    """Relative paths of generated files that are missing, differ, or belong to no component any more."""
    stale = [path for path, text in wanted.items() if not _holds(root / path, text)]
    for folder, pattern in _FOLDERS:
        found = (path.relative_to(root) for path in (root / folder).rglob(pattern))
        stale += [path for path in found if path not in wanted]
    return sorted(stale)


def _write(root: Path, wanted: dict[Path, str], stale: list[Path]) -> None:
    for path in stale:
        target = root / path
        if path in wanted:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(wanted[path], encoding="utf-8")
        else:
            target.unlink()
        print(path.as_posix())


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def _with_table(readme: Path, table: str) -> str:
    text = readme.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ContractError("generate", "README.md has no place for the table", do=f"add: {BEGIN}{END}")
    return f"{before}{BEGIN}{table}{END}{after}"
