"""`claimed-med net echo|find|get|store|serve`: DICOM over the network. Prints UIDs and counts only."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from claimed_med.errors import ContractError, InputError, RefusedError, name_of
from claimed_med.payload import LINEAGE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from claimed_med.dicom.net import Node, Sent

# commands of the services: verb -> module, and words that it gets in front
SERVICES = {
    "serve": ("claimed_med.services.receiver", ()),
    "route": ("claimed_med.services.router_cli", ("route",)),
    "status": ("claimed_med.services.router_cli", ("status",)),
    "explain": ("claimed_med.services.router_cli", ("explain",)),
}
FAILED = 7  # as OutputError
_ADDRESS = "[tls:]AET@host:port"
_LISTEN = "127.0.0.1:11113"


def main(words: Sequence[str]) -> int:
    """Run one command; the exit code.

    Raises:
        ClaimedMedError: As the functions of `claimed_med.dicom.net` say.
    """
    listed = list(words)
    if listed and listed[0] in SERVICES:
        module, front = SERVICES[listed[0]]
        return int(importlib.import_module(module).main([*front, *listed[1:]]))
    given = parser().parse_args(listed)
    commands = {"echo": _echo, "find": _find, "get": _get, "store": _store}
    return commands[given.command](given)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="claimed-med net", description="DICOM over the network.")
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    node = _node_options()
    commands.add_parser("echo", parents=[node], help="ask a node whether it is there and knows us (C-ECHO)")
    find = commands.add_parser("find", parents=[node], help="ask a node what it holds (C-FIND)")
    find.add_argument(
        "filters", nargs="*", metavar="KEYWORD=VALUE", help="such as StudyDate=20260101-; '-' reads stdin"
    )
    find.add_argument("--level", choices=("study", "series", "instance"), default="study", help="default: %(default)s")
    find.add_argument("--limit", type=int, default=0, metavar="N", help="most answers (default: all)")
    get = commands.add_parser("get", parents=[node], help="fetch studies (C-GET or C-MOVE)")
    get.add_argument("studies", nargs="+", metavar="STUDY_UID")
    get.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="gets <SOPInstanceUID>.dcm")
    get.add_argument("--method", choices=("get", "move"), default="get", help="default: %(default)s")
    get.add_argument("--listen", metavar="HOST:PORT", default="", help=f"our receiver for move (default: {_LISTEN})")
    store = commands.add_parser("store", parents=[node], help="send files (C-STORE)")
    store.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files, or folders with files")
    store.add_argument("--commit", action="store_true", help="ask for storage commitment after that")
    store.add_argument("--listen", metavar="HOST:PORT", default="", help="where the report on that may come in")
    commands.add_parser("serve", help="receive objects", add_help=False)
    commands.add_parser("route", help="receive studies, work on them by rules, and send them on", add_help=False)
    commands.add_parser("status", help="what the router did with every study", add_help=False)
    commands.add_parser("explain", help="which rule a study falls under, and why not under the others", add_help=False)
    return made


def _node_options() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(add_help=False)
    made.add_argument("node", metavar="NODE", help=_ADDRESS)
    made.add_argument("--aet", default="CLAIMED_MED", metavar="TITLE", help="our AE title (default: %(default)s)")
    made.add_argument("--timeout-s", type=float, default=30.0, metavar="S", help="for one answer (default: 30)")
    tls = made.add_argument_group("TLS (tls: in front of the address; default: CLAIMED_MED_TLS_CA, _CERT, _KEY)")
    tls.add_argument("--ca", type=Path, default=None, metavar="FILE", help="authorities to trust, PEM")
    tls.add_argument("--cert", type=Path, default=None, metavar="FILE", help="our certificate, PEM")
    tls.add_argument("--key", type=Path, default=None, metavar="FILE", help="its key, PEM")
    return made


def _node(given: argparse.Namespace) -> Node:
    from claimed_med.dicom.net import Node, Tls

    own = Tls.from_environment()
    tls = Tls(given.ca or own.ca, given.cert or own.cert, given.key or own.key)
    node = Node.parse(given.node, calling_aet=given.aet, tls=tls, timeout_s=given.timeout_s)
    if node.tls is None and (given.ca or given.cert or given.key):  # who names them does not mean to send in the clear
        what, do = "--ca, --cert and --key are of TLS, and the node is named without it", "write tls:AET@host:port"
        raise ContractError(f"net {given.command}", what, do=do)
    return node


def _echo(given: argparse.Namespace) -> int:
    from claimed_med.dicom.net import echo

    echo(_node(given))
    print("the node answers")
    return 0


def _find(given: argparse.Namespace) -> int:
    from claimed_med.dicom.net import find, parse_query

    filters = [line.strip() for line in sys.stdin if line.strip()] if given.filters == ["-"] else given.filters
    n_matches = 0
    for one in find(_node(given), parse_query(filters), given.level, limit=given.limit):
        n_matches += 1
        uid = one.instance_uid or one.series_uid or one.study_uid
        counts = (("series", one.n_series), ("instances", one.n_instances))
        words = [",".join(one.modalities), *(f"{count} {name}" for name, count in counts if count >= 0)]
        print("  ".join([uid, *(word for word in words if word)]))
    print(f"{n_matches} matches", file=sys.stderr)
    return 0


def _get(given: argparse.Namespace) -> int:
    from claimed_med.dicom.net import get, move
    from claimed_med.dicom.net_component import listen_address

    node = _node(given)
    if given.method == "get" and given.listen:
        raise ContractError("net get", "--listen is of --method move", do="add that, or leave it out")
    if given.method == "get":
        fetched = get(node, given.studies, given.out)
    else:
        fetched = move(node, given.studies, given.out, listen=listen_address(given.listen or _LISTEN))
    expected = "an unknown number" if fetched.n_expected < 0 else str(fetched.n_expected)
    print(f"{len(fetched.files)} objects of {expected}; {fetched.n_refused} refused")
    for uid in fetched.missing:
        print(f"missing: {uid}", file=sys.stderr)
    return FAILED if fetched.missing else 0


def _store(given: argparse.Namespace) -> int:
    from claimed_med.dicom.net import commit, send
    from claimed_med.dicom.net_component import NO_DICOM, listen_address
    from claimed_med.dicom.storing import refuse_left

    if not all(path.exists() for path in given.paths):
        raise InputError("net store", "a path does not exist", do="check the paths")
    if given.listen and not given.commit:
        raise ContractError("net store", "--listen is of --commit", do="add that, or leave it out")
    _refuse_undecided(given.paths)
    node, listen = _node(given), listen_address(given.listen) if given.listen else None
    paths = list(_files(given.paths))
    refuse_left(paths)
    results = send(node, paths)
    stored = [one for one in results if one.outcome == "stored"]
    others = [one for one in results if one.reason in NO_DICOM]
    lost = [one for one in results if one.outcome == "failed" and one.reason not in NO_DICOM]
    print(f"{len(stored)} stored, {len(lost)} failed, {len(others)} other files")
    for one in lost:
        print(f"failed: {_named(one)}: {one.reason}", file=sys.stderr)
    unsure: dict[str, str] = {}
    if given.commit:
        answers = commit(node, [(one.sop_class_uid, one.sop_uid) for one in stored], listen=listen)
        unsure = {uid: words for uid, words in answers.items() if words != "committed"}
        print(f"{len(answers) - len(unsure)} committed")
        for uid, words in sorted(unsure.items()):
            print(f"not committed: {uid}: {words}", file=sys.stderr)
    return FAILED if lost or unsure or not stored else 0


def _refuse_undecided(paths: Sequence[Path]) -> None:
    """Refuse objects that a de-identification made: nobody can decide on them here.

    Raises:
        RefusedError: Some are.
    """
    from claimed_med import lineage
    from claimed_med.dicom.storing import DEIDENTIFY

    for path in paths:
        below = {file.parent for file in path.rglob(LINEAGE)} if path.is_dir() else set()
        for place in sorted({path if path.is_dir() else path.parent, *below}):
            record = lineage.read(place)
            if record is not None and record.component == DEIDENTIFY:
                raise RefusedError(
                    "net store",
                    "the objects are de-identified, and nobody has decided on them",
                    do="use store-deidentified or send-deidentified",
                )


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(one for one in path.rglob("*") if one.is_file() and not one.name.startswith("."))
        else:
            yield path


def _named(one: Sent) -> str:
    return one.sop_uid or name_of(one.path)
