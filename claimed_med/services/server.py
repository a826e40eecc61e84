"""`claimed-med serve BUNDLE`: one blessed model over V1, Open Inference Protocol v2 (REST, gRPC) and DICOM.

kserve's ModelServer and DataPlane with our addresses, limits and answers. SIGTERM: nothing new is taken, what was
accepted is finished. SIGHUP: the paths of the models and the tokens are read again, and taken over in one step.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from claimed_med.errors import ContractError, InputError, require
from claimed_med.payload import folder_digest
from claimed_med.services.serve_error import WHERE
from claimed_med.workers import limit_threads

if TYPE_CHECKING:
    from claimed_med.services.serve_options import Options

THREADS = {"classification": 1, "segmentation": 2}


def main(words: Sequence[str]) -> int:
    """Serve until SIGTERM; the exit code.

    Raises:
        ClaimedMedError: Options that are not allowed, or a model that cannot be served.
    """
    require("cryptography", "serve")
    from claimed_med.services.serve_options import parse

    options = parse(words)
    _refuse_early(options)
    argv, sys.argv = sys.argv, sys.argv[:1]  # kserve reads the command line when it is imported
    try:
        for module in ("kserve", "prometheus_client", "uvicorn", "orjson"):
            require(module, "serve")
    finally:
        sys.argv = argv
    limit_threads(threads_of(options.bundle))  # before any numeric library is imported
    from claimed_med.services.serve_run import serve

    _silence()
    with _work(options.work) as work:
        return serve(replace(options, work=work))


def _refuse_early(options: Options) -> None:
    """Say at once what would be said after all has been imported; what is served is looked at again, as a copy.

    Raises:
        ContractError: A place that is to be written cannot be.
        InputError: There is no bundle, the record of predictions cannot be opened, or a port is taken.
        OutputError: The record of predictions cannot be made.
        RefusedError: The bundle is not blessed, and there is no override.
    """
    from claimed_med.prediction_log import PredictionLog
    from claimed_med.services.listening import refuse_taken
    from claimed_med.services.serve_source import Source

    for option in ("work", "lineage", "pictures"):
        _refuse_unwritable(f"--{option}", getattr(options, option))
    _refuse_unwritable("--audit", Path(options.audit) if options.audit else None, is_file=True)

    sources = [Source(options.bundle, options.decision, options.override, options.expect)]
    if options.canary is not None:
        sources.append(Source(options.canary, options.canary_decision, options.override))
    for source in sources:
        if not (source.bundle / "bundle.json").is_file():
            do = "give a model bundle, or the servable folder of package-model"
            raise InputError(WHERE, "the folder holds no bundle.json", do=do)
        source.blessing(WHERE, folder_digest(source.bundle))
    PredictionLog(options.log).close()
    for port in (options.http_port, options.grpc_port):
        if port > 0:
            refuse_taken(options.host, port, WHERE)


def _refuse_unwritable(option: str, place: Path | None, *, is_file: bool = False) -> None:
    """Refuse a place in which nothing could be written later, when requests wait.

    Raises:
        ContractError: It is one.
    """
    if place is None:
        return
    whole = place.absolute()
    above = whole.parents[:1] if is_file else whole.parents  # folders are made, but not for a file
    there = next((one for one in (whole, *above) if one.exists()), None)
    if there is None or there.is_dir() == (is_file and there == whole) or not os.access(there, os.W_OK):
        allowed = "a file in a folder that can be written" if is_file else "a folder that can be written"
        raise ContractError(WHERE, f"{option} names no place that can be written", allowed=allowed)


def threads_of(bundle: Path) -> int:
    """The threads of the component that runs this bundle, read without loading it."""
    import json

    for place in (bundle / "bundle" / "bundle.json", bundle / "bundle.json"):
        with contextlib.suppress(OSError, ValueError):
            return THREADS.get(str(json.loads(place.read_text(encoding="utf-8")).get("task")), 1)
    return 1


def _silence() -> None:
    """Let no other library write: their texts may quote a header, a path or an address."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    logging.lastResort = None


@contextlib.contextmanager
def _work(given: Path | None) -> Iterator[Path]:
    """A private folder for the time of the process."""
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"claimed-med-serve-{os.getpid()}-", dir=given))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
