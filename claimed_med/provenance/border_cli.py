"""`claimed-med lineage forward | backward`: over the border of de-identification."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from claimed_med.errors import NOTHING_FOUND
from claimed_med.provenance.border import backward, forward


def declare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands `forward` and `backward`."""
    onward = commands.add_parser("forward", help="what became of an original on the other side of de-identification")
    onward.add_argument("original", help="a DICOM file, or a SOPInstanceUID")
    onward.add_argument("folder", type=Path, help="where outputs of runs lie")
    onward.set_defaults(action=_forward)
    back = commands.add_parser("backward", help="the original of a de-identified object, by the link table")
    back.add_argument("object", help="a DICOM file, or a SOPInstanceUID")
    back.add_argument("links", type=Path, help="port folder of link-identities")
    back.set_defaults(action=_backward)


def _forward(arguments: argparse.Namespace) -> int:
    found = forward(arguments.original, arguments.folder)
    print(json.dumps({"new_uid": found.new_uid, "runs": found.runs, "files": found.files}, indent=1))
    if not found.runs:
        print("no run below this folder took it over the border, as far as this secret tells", file=sys.stderr)
    return 0 if found.runs else NOTHING_FOUND


def _backward(arguments: argparse.Namespace) -> int:
    found = backward(arguments.object, arguments.links)
    print(json.dumps(found, indent=1))
    if not found["originals"]:
        print("the link table knows neither the object nor what it refers to", file=sys.stderr)
    return 0 if found["originals"] else NOTHING_FOUND
