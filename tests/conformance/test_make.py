"""The Makefile offers what the documentation and CI call."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
TARGETS = [
    "help",
    "demo",
    "test",
    "check",
    "generate",
    "bench",
    "docs",
    "soak",
    "image",
    "container",
    "engines",
    "system",
    "test-engines",
    "system-container",
]


def make(*words):
    return subprocess.run(["make", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)


def test_help_lists_every_target():
    shown = make("help").stdout
    assert [target for target in TARGETS if f"make {target} " not in shown] == []


@pytest.mark.parametrize("target", TARGETS)
def test_target_can_be_planned(target):
    assert make("--dry-run", target).returncode == 0


def test_study_with_a_space_reaches_the_pipeline_as_one_word():
    assert '"/a b/c"' in make("--dry-run", "demo", "STUDY=/a b/c").stdout


def test_ci_calls_the_same_targets():
    text = (ROOT / ".ci/run").read_text()
    assert [name for name in ("check", "test", "test-engines") if f"step {name}\n" not in text] == []
