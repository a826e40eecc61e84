"""`claimed-med lineage index | trace | where-used`: questions to the index."""

from __future__ import annotations

import argparse
import json
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from claimed_med.errors import NOTHING_FOUND, ContractError, InputError
from claimed_med.provenance import trace as tracing
from claimed_med.provenance.drawing import FORMATS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claimed_med.provenance.store import Store


_WHERE = "lineage where-used"
_NOTHING = f"It ends with {NOTHING_FOUND} when it looked and found nothing."
_NAME = re.compile(r"[0-9.]{1,64}|[0-9a-f]{16}|[0-9a-f]{64}")


def declare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands `index`, `trace` and `where-used`."""
    build = commands.add_parser("index", help="build the index from all records below some folders")
    build.add_argument("roots", type=Path, nargs="+", metavar="FOLDER", help="runs, or folders of them")
    how = build.add_mutually_exclusive_group()
    how.add_argument("--add", action="store_true", help="keep what is in the index")
    how.add_argument("--empty", action="store_true", help="forget all records, where there is none in these folders")
    build.set_defaults(action=_index)
    trace = commands.add_parser(
        "trace", help="where any DICOM file, bundle or report comes from, with the index", epilog=_NOTHING
    )
    trace.add_argument("object", type=Path, help="the file or folder, wherever it is now")
    trace.add_argument("--format", choices=tuple(FORMATS), default="table", help="default: %(default)s")
    trace.set_defaults(action=_trace)
    used = commands.add_parser(
        "where-used", help="which models and results used a patient, series or payload", epilog=_NOTHING
    )
    used.add_argument("name", help="patient key, series or SOP instance UID, digest, or a file")
    used.add_argument(
        "--of", choices=("object", "series", "patient"), default="object", help="what of a DICOM file is followed"
    )
    used.add_argument("--json", action="store_true", help="print JSON")
    used.set_defaults(action=_where_used)
    for one in (build, trace, used):
        one.add_argument(
            "--db", default="", metavar="PLACE", help="SQLite file or postgresql:// URL (default: CLAIMED_MED_INDEX)"
        )


def _index(arguments: argparse.Namespace) -> int:
    from claimed_med.provenance.index import build, default_place

    place = arguments.db or default_place()
    built = build(arguments.roots, place, anew=not arguments.add, may_be_empty=arguments.empty)
    print(f"{built.n_records} records out of {built.n_files} files")
    if not arguments.add and built.n_records < built.n_before:
        print(f"the index held {built.n_before} records before; to keep what is in it, say --add", file=sys.stderr)
    for place in built.unreadable[:20]:
        print(f"no record can be read in {Path(place).name}", file=sys.stderr)
    for place, name in built.forged[:20]:
        print(f"an ancestor in {Path(place).name} was altered and is left out: {name[:12]}", file=sys.stderr)
    return 0


def _trace(arguments: argparse.Namespace) -> int:
    from claimed_med.provenance import written
    from claimed_med.provenance.lookup import trace

    place: Path = arguments.object
    if not place.exists():
        raise InputError("lineage trace", "the file does not exist", do="check the path")
    told = written.read(place) if place.is_file() else None
    with _open_index(arguments.db) as store:
        has_index = store is not None
        found = trace(store, written.names_of(place)) if store is not None else []
    if not found and place.name and _has_record(place):
        found = [tracing.trace(place)]
    if arguments.format == "json":
        print(
            json.dumps({"object": told.as_dict() if told else None, "runs": [one.as_dict() for one in found]}, indent=1)
        )
    elif found and arguments.format != "table":
        print("\n".join(FORMATS[arguments.format](one) for one in found))
    else:
        _print_trace(told, found)
    if not found and not has_index:
        what, do = "there is no index, and no record beside the object", "run: claimed-med lineage index FOLDER"
        raise InputError("lineage trace", what, do=do)
    if not found:
        print("no run in the index made this object", file=sys.stderr)
    return 0 if found else NOTHING_FOUND


def _has_record(place: Path) -> bool:
    from claimed_med.lineage import read

    return read(place if place.is_dir() else place.parent) is not None


def _print_trace(told: object, found: list[tracing.Trace]) -> None:
    from claimed_med.provenance.written import Written

    if isinstance(told, Written):
        print(f"the object says: {told.modality} {told.sop_uid}")
        print(f"      made by {', '.join(told.made_by) or 'nobody that it names'}")
        print(f"      refers to {len(told.sources)} instances")
    for number, one in enumerate(found):
        if len(found) > 1:
            print(f"run {number + 1} of {len(found)} that made it:")
        print(tracing.as_table(one))


def _where_used(arguments: argparse.Namespace) -> int:
    from claimed_med.provenance.lookup import where_used

    with _open_index(arguments.db) as store:
        if store is None:
            raise InputError(_WHERE, "there is no index", do="run: claimed-med lineage index FOLDER")
        uses = where_used(store, _name_of(arguments.name, arguments.of))
    if arguments.json:
        print(json.dumps([one.as_dict() for one in uses], indent=1))
    for one in () if arguments.json else uses:
        sure = "" if one.certain else "  (perhaps: a run on a whole cohort may leave it out)"
        unit = f" unit {one.unit}" if one.unit else ""
        print(f"{one.record.component} {one.record.version} -> {one.record.port}{unit}  [{one.digest[:12]}]{sure}")
        if one.place:
            print(f"      {one.place}")
    if not uses:
        print("nothing in the index used it", file=sys.stderr)
    return 0 if uses else NOTHING_FOUND


def _name_of(given: str, what: str) -> str:
    """The name of what a path leads to; all else is a name itself.

    Raises:
        ContractError: --of asks for what only a DICOM file tells.
        InputError: It is neither a path nor a name, or the file does not tell what is asked for.
    """
    from claimed_med.dicom.origin import origin_of
    from claimed_med.provenance.written import names_of

    place = Path(given)
    if (not given or not place.exists()) and not _NAME.fullmatch(given):
        allowed = "a path, a UID, a patient key of 16 hex digits, or a digest of 64"
        raise InputError(_WHERE, "there is no such file, and it is no name of the index", allowed=allowed)
    found = origin_of(place) if place.is_file() else None
    if found is None:
        if what != "object":
            do = "leave it out: a name says itself whose it is"
            raise ContractError(_WHERE, "--of is for a DICOM file that is here", got=what, do=do)
        return names_of(place)[0] if place.exists() else given
    name = {"object": found.sop_uid, "series": found.series_uid, "patient": found.patient}[what]
    if not name:
        raise InputError(_WHERE, f"the file does not say its {what}", do="choose another --of")
    return name


@contextmanager
def _open_index(given: str) -> Iterator[Store | None]:
    from claimed_med.provenance.index import default_place
    from claimed_med.provenance.store import connected, is_postgres

    place = given or default_place()
    if given or is_postgres(place) or Path(place).is_file():
        if not is_postgres(place) and not Path(place).is_file():
            raise InputError(
                "lineage", "there is no index there", do="run: claimed-med lineage index FOLDER --db PLACE"
            )
        with connected(place) as store:
            store.require()
            yield store
    else:
        yield None
