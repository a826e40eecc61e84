"""Every verb of the command line ends with the code that docs/running.md names, and never with a traceback."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from claimed_med import errors
from claimed_med.cli import COMMANDS, main, usage

ROOT = Path(__file__).resolve().parent.parent.parent
NOT_ALLOWED, INPUT = errors.ContractError.exit_code, errors.InputError.exit_code
NODE = "tls:PACS@127.0.0.1:1"
# verb -> (what is asked for and is not there, the code); a name of something is not allowed, a file is missing input
ABSENT = {
    "list": (["--category", "absent"], NOT_ALLOWED),
    "show": (["absent"], NOT_ALLOWED),
    "run": (["segment-lungs", "--series", "FILE", "--out", "OUT"], INPUT),
    "pipeline list": None,
    "pipeline show": (["FILE.yaml"], NOT_ALLOWED),
    "pipeline run": (["segment_and_report", "--engine", "slurm", "--platform", "FILE", "--out", "OUT"], INPUT),
    "pipeline compile": (["segment_and_report", "--target", "slurm", "--platform", "FILE"], INPUT),
    "pipeline catalog": (["--data", "OUT", "--components", "FILE"], INPUT),
    "pipeline when": (["absent"], NOT_ALLOWED),
    "lineage show": (["FILE"], INPUT),
    "lineage verify": (["FILE"], INPUT),
    "lineage diff": (["FILE", "FILE"], INPUT),
    "lineage rerun": (["FILE"], INPUT),
    "lineage index": (["FILE", "--db", "OUT"], INPUT),
    "lineage trace": (["FILE"], INPUT),
    "lineage where-used": (["1.2.3", "--db", "FILE"], INPUT),
    "lineage key": None,
    "lineage sign": (["FILE", "--key", "FILE"], INPUT),
    "lineage export": (["FILE", "--out", "OUT"], INPUT),
    "lineage forward": (["1.2.3", "FILE"], INPUT),
    "lineage backward": (["1.2.3", "FILE"], INPUT),
    "serve": (["FILE"], INPUT),
    "net echo": ([NODE, "--ca", "FILE"], INPUT),
    "net find": ([NODE, "StudyDate=20260101", "--ca", "FILE"], INPUT),
    "net get": ([NODE, "1.2.3", "--out", "OUT", "--ca", "FILE"], INPUT),
    "net store": (["PACS@127.0.0.1:1", "FILE"], INPUT),
    "net serve": (["OUT", "--port", "0", "--cert", "FILE", "--key", "FILE"], INPUT),
    "net route": (["FILE"], INPUT),
    "net status": (["--home", "FILE"], INPUT),
    "net explain": (["FILE", "FILE"], INPUT),
    "monitor serve": (["FILE"], INPUT),
    "manifest": (["absent", "--target", "trainjob"], NOT_ALLOWED),
    "data list": None,
    "data make": (["absent"], NOT_ALLOWED),
    "data fetch": (["absent"], NOT_ALLOWED),
    "data locate": (["absent"], NOT_ALLOWED),
    "new": (["do_something", "--from", "FILE"], INPUT),
    "generate": (["--check", "--root", "FILE"], INPUT),
}
WITH_FILE = sorted(verb for verb, asked in ABSENT.items() if asked is not None)


def called(*words):
    """(exit code, standard output, standard error) of a command line."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(words)
        except SystemExit as ended:  # argparse
            code = ended.code
    return code, out.getvalue(), err.getvalue()


def verbs():
    """Every verb, out of the help texts."""
    for command in COMMANDS:
        shown = called(command, "--help")[1]
        inside = re.findall(r"^    ([a-z][a-z-]*)(?= |$)", shown, re.MULTILINE)
        yield from [f"{command} {one}" for one in inside] or [command]


def test_no_verb_is_left_out():
    assert sorted(verbs()) == sorted(ABSENT)


@pytest.mark.parametrize("verb", sorted(ABSENT))
def test_an_option_that_there_is_not(verb):
    words = ["segment-lungs", "--series", "."] if verb == "run" else []
    code, out, err = called(*verb.split(), *words, "--no-such-option")
    assert (code, out) == (NOT_ALLOWED, "")
    assert err.startswith("usage: ")
    assert "error: " in err


@pytest.mark.parametrize("verb", WITH_FILE)
def test_something_that_is_not_there(verb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    asked, wanted = ABSENT[verb]
    words = [word.replace("FILE", str(tmp_path / "absent")).replace("OUT", str(tmp_path / "out")) for word in asked]
    code, out, err = called(*verb.split(), *words)
    assert (code, out) == (wanted, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("verb", sorted(ABSENT))
def test_help_of_every_verb_is_a_page(verb):
    code, out, err = called(*verb.split(), "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: claimed-med {verb}")


def test_the_table_in_the_docs_is_that_of_the_errors_and_of_the_help():
    text = (ROOT / "docs" / "running.md").read_text(encoding="utf-8").partition("## Exit codes")[2]
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    classes = [errors.ClaimedMedError, *errors.ClaimedMedError.__subclasses__()]
    assert listed == {0, 130, errors.NOTHING_FOUND} | {
        one.exit_code for one in classes if one.__module__ == errors.__name__
    }
    assert {int(code) for code in re.findall(r"(\d+) [a-z]", usage().partition("exit codes:")[2])} == listed
