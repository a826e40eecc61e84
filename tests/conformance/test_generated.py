"""What is derived from the contracts and committed is what the contracts say today."""

from __future__ import annotations

from claimed_med import generate

ROOT = generate.checkout()


def test_generated_files_are_up_to_date():
    assert generate.out_of_date(ROOT, generate.files(ROOT)) == [], "run: make generate"


def test_compiled_pipelines_are_up_to_date():
    compiled = generate.compiled(ROOT)
    assert compiled.keys() == {path.relative_to(ROOT) for path in (ROOT / "pipelines").glob("*.yaml")}
    assert [path for path, text in compiled.items() if (ROOT / path).read_text() != text] == [], "run: make generate"


def test_pipelines_for_elyra_are_up_to_date():
    drawn = generate.canvases(ROOT)
    assert drawn.keys() == {path.relative_to(ROOT) for path in (ROOT / "pipelines").glob("*.pipeline")}
    assert [path for path, text in drawn.items() if (ROOT / path).read_text() != text] == [], "run: make generate"
