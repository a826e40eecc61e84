"""`claimed-med lineage ...`: where it came from, what it was used for, again, the same, sealed, exported."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from claimed_med.errors import ContractError, OutputError
from claimed_med.provenance import border_cli, index_cli
from claimed_med.provenance import trace as tracing
from claimed_med.provenance.drawing import FORMATS
from claimed_med.provenance.verify import verify
from claimed_med.targets.plan import ENGINES

if TYPE_CHECKING:
    from collections.abc import Callable


def main(words: list[str]) -> int:
    """Run one lineage command; the exit code: 7 when `verify` or `rerun --verify` found a difference."""
    parser = argparse.ArgumentParser(prog="claimed-med lineage", description="Where an output came from.")
    commands = parser.add_subparsers(dest="command", required=True)
    for declare in (_declare_looking, _declare_rerun, index_cli.declare, _declare_sealing, border_cli.declare):
        declare(commands)
    arguments = parser.parse_args(words)
    action: Callable[[argparse.Namespace], int] = arguments.action
    return action(arguments)


def _declare_looking(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    show = commands.add_parser("show", help="the way from an output back to its source SOP instances")
    show.add_argument("place", type=Path, help="a file or folder that a run wrote")
    show.add_argument("--format", choices=tuple(FORMATS), default="table", help="default: %(default)s")
    show.set_defaults(action=_show)
    check = commands.add_parser(
        "verify",
        help="recompute all digests and name every place that changed",
        epilog="It ends with 7 when a place changed.",
    )
    check.add_argument("folder", type=Path, help="an output folder, any folder above some, or a crate")
    check.add_argument("--key", type=Path, default=None, metavar="PUB", help="check the signature with this public key")
    check.set_defaults(action=_verify)
    compare = commands.add_parser("diff", help="how two runs differ, task by task")
    compare.add_argument("first", type=Path, help="a folder that a run wrote")
    compare.add_argument("second", type=Path, help="another one")
    compare.add_argument("--json", action="store_true", help="print JSON")
    compare.set_defaults(action=_diff)


def _declare_rerun(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    again = commands.add_parser("rerun", help="run again what is recorded, and compare every output")
    again.add_argument("run", type=Path, help="run folder of a pipeline, output folder of a component, or a crate")
    again.add_argument("--verify", action="store_true", help="end with 7 unless every output is the same")
    again.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a place, or a change on purpose"
    )
    again.add_argument(
        "--input", action="append", default=[], metavar="PORT=PATH", help="where an input of one component lies"
    )
    again.add_argument("--out", type=Path, default=None, metavar="FOLDER", help="keep the new run here")
    again.add_argument("--engine", choices=ENGINES, default="local", help="where a pipeline runs (%(default)s)")
    again.add_argument("--platform", type=Path, default=None, metavar="TOML", help="what the site says of its cluster")
    again.add_argument("--tolerance", type=float, default=0.0, help="largest difference that counts as equal")
    again.add_argument("--json", action="store_true", help="print JSON")
    again.set_defaults(action=_rerun)


def _declare_sealing(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    key = commands.add_parser("key", help="make a signing key: FILE, and FILE.pub for those who verify")
    key.add_argument("file", type=Path, metavar="FILE", help="where there is none yet: keys are never replaced")
    key.set_defaults(action=_key)
    sign = commands.add_parser("sign", help="sign every file of a run or crate")
    sign.add_argument("folder", type=Path, help="a run folder, any folder above some, or a crate")
    sign.add_argument("--key", type=Path, required=True, metavar="FILE", help="private key")
    sign.set_defaults(action=_sign)
    export = commands.add_parser("export", help="write a run as a crate that others can read and run again")
    export.add_argument("run", type=Path, help="run folder of a pipeline, or output folder of a component")
    export.add_argument("--format", choices=("ro-crate",), default="ro-crate")
    export.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new folder: the crate")
    export.add_argument(
        "--data", action="store_true", help="take along images and tables too: they hold whatever their headers hold"
    )
    export.set_defaults(action=_export)


def _show(arguments: argparse.Namespace) -> int:
    print(FORMATS[arguments.format](tracing.trace(arguments.place)))
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from claimed_med.provenance.sign import NAME

    n_files, changes = verify(arguments.folder, arguments.key)
    for change in changes:
        print(f"{change.kind:<9} {change.name}: {change.text}", file=sys.stderr)
    if changes:
        return OutputError.exit_code
    print(f"{n_files} files are as recorded{' and signed' if arguments.key else ''}")
    if arguments.key is None and (arguments.folder / NAME).is_file():
        print("there is a signature, which was not checked: add --key", file=sys.stderr)
    return 0


def _diff(arguments: argparse.Namespace) -> int:
    from claimed_med.provenance.diff import diff

    found = diff(arguments.first, arguments.second)
    if arguments.json:
        print(json.dumps([one.as_dict() for one in found], indent=1))
    else:
        print("\n".join(map(str, found)) or "no difference but in times")
    return 0


def _rerun(arguments: argparse.Namespace) -> int:
    from claimed_med.provenance.rerun import Order, rerun

    inputs = {name: Path(text) for name, text in map(_pair, arguments.input)}
    given = dict(map(_pair, arguments.set))
    order = Order(given, inputs, arguments.engine, arguments.platform, arguments.tolerance)
    with tempfile.TemporaryDirectory() as folder:
        done = rerun(arguments.run, arguments.out or Path(folder) / "run", order)
    if arguments.json:
        print(json.dumps(done.as_dict(), indent=1))
    else:
        for task in done.reused:
            print(f"taken      {task}  data enter or leave here; its outputs are those of the record")
        for condition in done.conditions:
            print(f"changed    {condition}")
        for one in done.outputs:
            print(one)
    return OutputError.exit_code if arguments.verify and not done.is_reproduced else 0


def _key(arguments: argparse.Namespace) -> int:
    from claimed_med.provenance.keys import make

    print(f"wrote {arguments.file.name} (keep it secret) and {make(arguments.file).name}")
    return 0


def _sign(arguments: argparse.Namespace) -> int:
    from claimed_med.provenance.sign import sign

    print(f"wrote {sign(arguments.folder, arguments.key).name}")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from claimed_med.provenance.crate import export

    written = export(arguments.run, arguments.out, with_data=arguments.data)
    print(f"wrote {written} entities to {arguments.out.name}")
    return 0


def _pair(word: str) -> tuple[str, str]:
    name, found, value = word.partition("=")
    if not found or not name:
        raise ContractError("lineage rerun", "--set takes NAME=VALUE, --input PORT=PATH", got=repr(name))
    return name, value
