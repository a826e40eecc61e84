"""Every code block of the documentation is executed, or says why not.

Blocks of one page run in order, in one folder that holds `ct/` and `mr/` (one series each) and `cd/` (a mixture).
A comment before a block changes that: `<!-- not executed: reason -->`, `<!-- exits 3 -->`; `<!-- file: NAME -->` writes
the block to a file there.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from claimed_med import errors
from claimed_med.cli import main
from claimed_med.dicom.finding import NAMES
from claimed_med.dicom.repair import REPAIRS
from claimed_med.testing import phantoms, run_checks
from claimed_med.testing.checks import ALWAYS

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)")
EXECUTED = {"python", "console"}


def blocks(page):
    return [(one["language"], one["code"], one["note"] or "") for one in BLOCK.finditer(page.read_text())]


def pages_with_code():
    return [page for page in PAGES if any(language in EXECUTED for language, _, _ in blocks(page))]


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    for name, example in (("ct", "chest_ct"), ("mr", "head_mr"), ("cd", "collection")):
        phantoms.write(example, folder / name)
    return folder


@pytest.mark.parametrize("page", pages_with_code(), ids=lambda page: page.stem)
def test_blocks_run(page, samples, tmp_path, monkeypatch):
    for sample in samples.iterdir():
        (tmp_path / sample.name).symlink_to(sample)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLAIMED_MED_WORKERS", "1")
    monkeypatch.setenv("CLAIMED_MED_CACHE", str(tmp_path / "cache"))
    names = {"__name__": "__docs__"}
    for language, code, note in blocks(page):
        if note.startswith("not executed"):
            continue
        if note.startswith("file: "):
            (tmp_path / note.removeprefix("file: ")).write_text(code)
            continue
        if language == "python":
            exec(compile(code, f"{page.name}", "exec"), names)  # noqa: S102 - our own documentation
        elif language == "console":
            expected = int(note.removeprefix("exits ")) if note.startswith("exits ") else 0
            for line in code.splitlines():
                if line.startswith("$ "):
                    assert _run(line[2:]) == expected, line


def _run(line):
    words = shlex.split(line, comments=True)
    assert words[0] == "claimed-med", f"only claimed-med is executed: {line}"
    try:
        return main(words[1:])
    except SystemExit as ended:
        return ended.code or 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_blocks_name_their_language(page):
    assert [code for language, code, _ in blocks(page) if not language] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_block_that_is_not_executed_says_why(page):
    bare = [
        note for _, _, note in blocks(page) if note.startswith("not executed") and len(note) < len("not executed: why")
    ]
    assert bare == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    broken = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert broken == []


def test_every_finding_is_explained():
    text = (ROOT / "docs/reading.md").read_text()
    assert [name for name, words in NAMES.items() if f"| `{name}` | {words} |" not in text] == []


def test_every_repair_is_explained():
    text = (ROOT / "docs/reading.md").read_text()
    assert [name for name in REPAIRS if f"| `{name}` |" not in text] == []


def test_every_check_of_the_battery_is_explained():
    text = (ROOT / "docs/adding-a-component.md").read_text()
    named = {*ALWAYS, run_checks.valid_dicom, run_checks.wrong_modality_refused}
    assert [check.__name__ for check in named if f"| `{check.__name__}` |" not in text] == []


def test_every_exit_code_is_explained():
    text = (ROOT / "docs/running.md").read_text()
    codes = {one.exit_code for one in vars(errors).values() if isinstance(one, type) and hasattr(one, "exit_code")}
    assert [code for code in codes if f"| {code} |" not in text] == []


def test_every_dependency_is_explained_with_its_pin():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = [*project["dependencies"], *(pin for pins in project["optional-dependencies"].values() for pin in pins)]
    text = (ROOT / "docs/dependencies.md").read_text()
    missing = []
    for name, version in (pin.split("==") for pin in pins):
        shown = re.sub(r"^pylibjpeg-(?!libjpeg)", "-", name)
        missing += [name] if shown not in text or version not in text else []
    assert missing == []
