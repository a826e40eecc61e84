"""Whether a run can be done again here as it was: components, weights, packages, files; differences are named."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from claimed_med import lineage, registry
from claimed_med.errors import ClaimedMedError
from claimed_med.execute import weights_digest
from claimed_med.provenance import runfile
from claimed_med.provenance.diff import Difference
from claimed_med.provenance.verify import altered, verify

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


def check(folder: Path, records: Mapping[str, lineage.Record]) -> list[Difference]:
    """Compare what a run recorded with what is here.

    Args:
        folder: Of the run; its files are compared with its records.
        records: Relative folder -> record.

    Returns:
        Every difference, each once: `old` is as recorded, `new` as found here.
    """
    found = [Difference(one.name, one.kind, "as recorded", one.text) for one in verify(folder)[1]]
    found += _packages(folder, records)
    told: set[tuple[str, str]] = set()
    for record in records.values():
        for one in _component(record):
            if (one.place, one.what) not in told:
                told.add((one.place, one.what))
                found.append(one)
    return found


def _component(record: lineage.Record) -> Iterator[Difference]:
    try:
        contract = registry.get(record.component).contract
    except ClaimedMedError:
        yield Difference(record.component, "component", record.version, "not installed")
        return
    if contract.version != record.version:
        yield Difference(record.component, "version", record.version, contract.version)
    if not record.weights and not contract.weights:
        return
    try:
        weights = weights_digest(contract)
    except (ClaimedMedError, ImportError):
        weights = "not installed"
    if weights != record.weights:
        yield Difference(record.component, "weights", record.weights[:12] or "none", weights[:12] or "none")


def _packages(folder: Path, records: Mapping[str, lineage.Record]) -> Iterator[Difference]:
    run = runfile.read(folder)
    if run is not None:
        here = runfile.describe(run.pipeline, run.ir, {}, run.engine)
        pairs = [("package", run.packages, here.packages), ("environment", run.environment, here.environment)]
    else:
        recorded: dict[str, str] = {}
        for record in records.values():
            recorded |= record.environment.get("versions", {})
        now = lineage.installed_versions()
        told = next(iter(records.values())).environment
        system = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
        pairs = [
            ("package", recorded, {name: now.get(name, "") for name in recorded}),
            ("environment", {name: told.get(name, "") for name in system}, system),
        ]
    for what, old, new in pairs:
        for name, was, is_now in altered(old, new):
            yield Difference("", f"{what} {name}", was, is_now)
