"""`claimed-med lineage show | verify`. Standard library only."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from claimed_med.errors import OutputError
from claimed_med.provenance import border
from claimed_med.provenance import trace as tracing
from claimed_med.provenance.verify import verify


def main(words: list[str]) -> int:
    """Run one lineage command; the exit code: 7 when `verify` found a change."""
    parser = argparse.ArgumentParser(prog="claimed-med lineage", description="Where an output came from.")
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("show", help="the way from an output back to its source SOP instances")
    show.add_argument("place", type=Path, help="a file or folder that a run wrote")
    show.add_argument("--format", choices=("table", "mermaid", "json"), default="table")
    check = commands.add_parser("verify", help="recompute all digests and name every file that changed")
    check.add_argument("folder", type=Path, help="an output folder, or any folder above some")
    border.declare(commands)
    arguments = parser.parse_args(words)
    if "action" in arguments:
        return int(arguments.action(arguments))
    return _show(arguments.place, arguments.format) if arguments.command == "show" else _verify(arguments.folder)


def _show(place: Path, form: str) -> int:
    found = tracing.trace(place)
    if form == "json":
        print(json.dumps(found.as_dict(), indent=1, sort_keys=True))
    else:
        print(tracing.as_table(found) if form == "table" else tracing.as_mermaid(found))
    return 0


def _verify(folder: Path) -> int:
    n_files, changes = verify(folder)
    for change in changes:
        print(f"{change.kind:<8} {change.name}: {change.text}", file=sys.stderr)
    if changes:
        return OutputError.exit_code
    print(f"{n_files} files are as recorded")
    return 0
