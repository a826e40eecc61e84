"""What is derived from the contracts and committed is what the contracts say today."""

from __future__ import annotations

import subprocess
import sys

import pytest

from claimed_med import generate

ROOT = generate.checkout()


def test_generated_files_are_up_to_date():
    stale = generate.out_of_date(ROOT, generate.files(ROOT))
    assert stale == [], "run: make generate"


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines").glob("*.py")), ids=lambda path: path.stem)
def test_compiled_pipeline_is_up_to_date(path, tmp_path):
    target = tmp_path / "compiled.yaml"
    words = [sys.executable, "-m", "claimed_med", "pipeline", "compile", path.stem, "--out", str(target)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert target.read_text() == path.with_suffix(".yaml").read_text(), "run: make generate"
