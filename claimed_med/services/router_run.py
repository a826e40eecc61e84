"""Run the pipeline or component of a rule on one study, and collect the objects that may leave."""

from __future__ import annotations

import fnmatch
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from claimed_med import lineage
from claimed_med.component import to_argument
from claimed_med.dicom.storing import DEIDENTIFY
from claimed_med.errors import ClaimedMedError, ContractError, InputError, RefusedError
from claimed_med.payload import LINEAGE, copy_file, files_below, folder_digest, replace_folder, sha256_of
from claimed_med.plain_handles import BLESSED, Decision
from claimed_med.registry import get as component_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from claimed_med.services.router_rules import RouteRule

_POLL_S, _GRACE_S = 0.1, 10.0
_LONGEST_REASON = 300
_BECAUSE_OF_DATA = frozenset({InputError.exit_code, RefusedError.exit_code})


class RunFailed(Exception):  # noqa: N818 - an outcome that is handed over, not raised at the user
    """The run did not end well.

    Args:
        reason: What it said.
        code: Its exit code, negative for a signal.
    """

    def __init__(self, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.code = code

    @property
    def is_because_of_data(self) -> bool:
        """Whether these data will never do, so that trying again is useless."""
        return self.code in _BECAUSE_OF_DATA

    @property
    def is_final(self) -> bool:
        """Whether trying again is useless."""
        return self.is_because_of_data or self.code == ContractError.exit_code


def make_input(files: Iterable[Path], folder: Path) -> None:
    """Fill a folder with copies of a study's files, all or nothing; one that holds just these is left alone."""
    wanted = {path.name: path for path in files}
    if folder.is_dir() and {name: sha256_of(path) for name, path in files_below(folder).items()} == {
        name: sha256_of(path) for name, path in wanted.items()
    }:
        return
    with replace_folder(folder) as partial:
        for name, path in wanted.items():
            copy_file(path, partial / name)


def run(rule: RouteRule, study_uid: str, source: Path, out: Path, stopping: Callable[[], bool]) -> None:
    """Run what a rule says, as a process of its own that ends when this one does.

    Args:
        rule: Says what.
        study_uid: Goes into settings that ask for it.
        source: Folder with the study.
        out: Run folder; that of a run that was killed is finished.
        stopping: Whether to stop the process now.

    Raises:
        RunFailed: It did not end well, was stopped, or took too long.
    """
    out.mkdir(parents=True, exist_ok=True)
    words = _words(rule, study_uid, source, out)
    log = out / "run.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "claimed_med.services.child", str(os.getpid()), *words],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
        end = time.monotonic() + rule.limit_s
        try:
            while process.poll() is None:
                if stopping():
                    raise RunFailed("the router is stopping")
                if time.monotonic() > end:
                    raise RunFailed(f"the run took longer than {rule.limit_s:g} s")
                time.sleep(_POLL_S)
        finally:
            _end(process)
    if process.returncode:
        raise RunFailed(_reason(process.returncode, log), process.returncode)


def results(rule: RouteRule, out: Path) -> list[Path]:
    """The files of the ports that a rule takes as results.

    Raises:
        RefusedError: They come from de-identified objects that no decision of this run lets go.
    """
    blessed = {decision["subject"] for decision in _decisions(out) if decision.get("verdict") == BLESSED}
    found: list[Path] = []
    for port in _ports(out):
        name = port.relative_to(out).as_posix()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in rule.take):
            _require_blessing(port, blessed)
            found += files_below(port).values()
    return sorted(found)


def _words(rule: RouteRule, study_uid: str, source: Path, out: Path) -> list[str]:
    """The command line, without the program."""
    settings = {name: _filled(value, study_uid) for name, value in rule.settings.items()}
    if rule.pipeline:
        if rule.input:
            settings[rule.input] = str(source)
        pairs = [word for name, value in settings.items() for word in ("--set", f"{name}={_text(value)}")]
        # no cache: it would keep copies of patients' objects in a place of its own
        return ["pipeline", "run", rule.pipeline, *pairs, "--no-cache", "--out", str(out)]
    contract = component_named(rule.component).contract
    options = {one.name: one for one in contract.settings}
    unknown = sorted(set(settings) - set(options))
    if unknown:
        raise RunFailed(f"{contract.name} has no setting {unknown[0]}", ContractError.exit_code)
    inputs = [rule.input] if rule.input else [port.name for port in contract.inputs]
    ports = [word for name in inputs for word in (f"--{name.replace('_', '-')}", str(source))]
    given = [
        word for name, value in settings.items() for word in (options[name].option, to_argument(options[name], value))
    ]
    return ["run", contract.name, *ports, *given, "--out", str(out)]


def _filled(value: Any, study_uid: str) -> Any:
    return value.replace("{study_uid}", study_uid) if isinstance(value, str) else value


def _text(value: Any) -> str:
    """A value of TOML as the command line of a pipeline takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Make sure that a process and all of its own are gone."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _reason(code: int, log: Path) -> str:
    """The last error that a run told; our errors name no patient."""
    if code < 0:
        return f"the run was killed by {signal.Signals(-code).name}"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    told = [line.partition("error: ")[2] for line in lines if "error: " in line]
    return (told[-1] if told else f"the run ended with code {code}")[:_LONGEST_REASON]


def _ports(out: Path) -> Iterator[Path]:
    """The port folders of a run."""
    for file in sorted(out.rglob(LINEAGE)):
        if not any(part.startswith(".") for part in file.relative_to(out).parts):
            yield file.parent


def _decisions(out: Path) -> Iterator[dict[str, Any]]:
    for file in sorted(out.rglob(Decision.file_name)):
        try:
            yield Decision(file.parent).load()
        except ClaimedMedError:
            continue


def _require_blessing(port: Path, blessed: set[str]) -> None:
    """Refuse what was de-identified, or made from that, unless a decision blesses those very objects."""
    record = lineage.read(port)
    if record is None:
        return
    made = (DEIDENTIFY, "deidentified")
    payloads = [one["payload"] for one in record.ancestors.values() if (one["component"], one["port"]) == made]
    if (record.component, record.port) == made:
        payloads.append(folder_digest(port))
    if not set(payloads) <= blessed:
        raise RefusedError(
            "route", "results come from de-identified objects that no decision lets go", do="run check-deidentification"
        )
