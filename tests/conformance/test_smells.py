"""Habits that a linter does not know."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = sorted((ROOT / "claimed_med").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
TEXTS = [
    path
    for folder in ("claimed_med", "tests", "docs", "pipelines", "datasets", "notebooks", "benchmarks", "changes")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".md", ".toml", ".ipynb", ".yaml", ".pyi"} and path != Path(__file__).resolve()
] + [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml", ".ci/run")]
LONGEST_MODULE = 400
LONGEST_FUNCTION = 60
VAGUE = re.compile(r"(^|_)(utils?|helpers?|common|misc|manager|base2)(_|$)")


def functions(path):
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]


def named(paths):
    return {"argvalues": paths, "ids": lambda path: path.relative_to(ROOT).as_posix()}


@pytest.mark.parametrize("path", **named(SOURCES))
def test_module_can_be_read_in_one_sitting(path):
    assert len(path.read_text().splitlines()) <= LONGEST_MODULE


@pytest.mark.parametrize("path", **named(SOURCES))
def test_function_fits_on_a_screen(path):
    code_lines = {
        node.name: node.end_lineno - (node.body[0].end_lineno if ast.get_docstring(node) else node.lineno)
        for node in functions(path)
    }
    assert {name: count for name, count in code_lines.items() if count > LONGEST_FUNCTION} == {}


def test_no_module_has_a_vague_name():
    assert [path for path in SOURCES if VAGUE.search(path.stem)] == []


@pytest.mark.parametrize("path", **named(SOURCES))
def test_only_commands_print(path):
    speaks = {"run", "mapping", "progress", "data", "scaffold", "generate", "report", "journal"}
    prints = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not prints or path.stem in speaks or path.stem.endswith("cli")


@pytest.mark.parametrize("path", **named(TESTS))
def test_every_test_asserts_something(path):
    asserting = (ast.Assert, ast.Raise)
    empty = []
    for node in functions(path):
        if not node.name.startswith("test_"):
            continue
        inside = list(ast.walk(node))
        calls = {ast.unparse(one.func) for one in inside if isinstance(one, ast.Call)}
        proves = any(call.startswith(("pytest.raises", "pytest.warns", "check", "contract_checks")) for call in calls)
        delegates = any("check" in call or "assert" in call or "expect" in call for call in calls)
        if not any(isinstance(one, asserting) for one in inside) and not proves and not delegates:
            empty.append(node.name)
    executed = {"test_stub_is_python", "test_broken_component_fails"}
    assert set(empty) <= executed


@pytest.mark.parametrize("path", **named(TEXTS))
def test_text_names_no_machine_and_no_unfinished_work(path):
    text = path.read_text(encoding="utf-8")
    found = re.findall(r"\b(?:TODO|FIXME)\b|(?<![\w.])/(?:root|home)/\w", text)
    assert found == []


@pytest.mark.parametrize("path", **named(SOURCES))
def test_noqa_says_why(path):
    bare = re.findall(r"# noqa(?:: [A-Z0-9, ]+)?$", path.read_text(), re.MULTILINE)
    assert bare == []
