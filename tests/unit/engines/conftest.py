from __future__ import annotations

from pathlib import Path

import pytest

from claimed_med.engines.cache import Cache
from claimed_med.engines.ir import load
from claimed_med.engines.local import LocalEngine
from claimed_med.engines.report import Report

PARTS = Path(__file__).parents[2] / "parts"


@pytest.fixture
def parts(monkeypatch):
    """The small components of tests/parts."""
    monkeypatch.setenv("CLAIMED_MED_COMPONENTS", str(PARTS))
    return PARTS


@pytest.fixture
def compiled(parts, tmp_path):
    """A function that compiles a kfp pipeline function: (function) -> path of the IR."""
    from kfp import compiler

    def make(function):
        path = tmp_path / "pipeline.yaml"
        compiler.Compiler().compile(function, str(path))
        return path

    return make


@pytest.fixture
def steps(parts):
    """The kfp components of the small components, by name."""
    from kfp import components

    from claimed_med import registry
    from claimed_med.targets.kfp import render

    return {
        name: components.load_component_from_text(render(registry.get(name).contract))
        for name in ("make-table", "count-lines")
    }


@pytest.fixture
def source(tmp_path):
    """A CSV file of two rows."""
    path = tmp_path / "source.csv"
    path.write_text("a\n1\n2\n")
    return path


@pytest.fixture
def start(tmp_path):
    """A function that runs an IR file: (path, out=..., **parameters) -> (exit code, report)."""

    def run(ir, out="run", *, cache=True, **parameters):
        report = Report(quiet=True)
        store = Cache(tmp_path / "cache") if cache else None
        engine = LocalEngine(tmp_path / out, cache=store, report=report, workers=2)
        return engine.run(load(ir), parameters), report

    return run
