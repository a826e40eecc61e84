"""Nothing heavy is imported before it is needed: `claimed-med list` must answer at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import claimed_med

ROOT = Path(claimed_med.__file__).parent
ROOMS_OF_THEIR_OWN = {"dicom", "engines", "imaging", "models", "trust", "provenance", "services", "testing"}
ALLOWED_ELSEWHERE = {"provenance"}  # standard library only, too
SCRIPT = """
import importlib, json, sys
before = set(sys.modules)
for name in {names!r}:
    importlib.import_module(name)
new = {{name.split(".")[0] for name in set(sys.modules) - before}}
print(json.dumps(sorted(new - sys.stdlib_module_names - {{"claimed_med", "__mp_main__"}})))
"""


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        light = parts[1] not in ROOMS_OF_THEIR_OWN - ALLOWED_ELSEWHERE
        if light and parts[-1] != "__main__":
            yield ".".join(part for part in parts if part != "__init__")


def third_party(names):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(names=names)], capture_output=True, check=True, text=True
    )
    return json.loads(done.stdout)


def test_core_targets_components_and_commands_import_only_the_standard_library():
    assert third_party(list(modules())) == []


def test_light_modules_are_all_looked_at():
    assert {"claimed_med.component", "claimed_med.run", "claimed_med.cli", "claimed_med.targets.docs"} <= set(modules())


def test_a_heavy_import_would_be_seen():
    assert "pydicom" in third_party(["claimed_med.dicom.series"])


@pytest.mark.parametrize("words", [["list"], ["list", "--json"], ["--help"], ["run", "--help"], ["data", "list"]])
def test_command_answers_without_a_heavy_import(words):
    script = f"import sys\nfrom claimed_med.cli import main\nmain({words!r})\n"
    script += "heavy = {'numpy', 'pydicom', 'highdicom', 'torch', 'kfp', 'yaml', 'pandas'} & set(sys.modules)\n"
    script += "sys.exit(', '.join(sorted(heavy)) or 0)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
