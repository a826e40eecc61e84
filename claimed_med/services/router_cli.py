"""`claimed-med net route | status | explain`: run the router, ask it, try its rules. Prints UIDs and counts only."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimed_med.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claimed_med.services.router_state import State, Study

_HOME = Path("router")


def main(words: Sequence[str]) -> int:
    """Run one command; the exit code.

    Raises:
        ClaimedMedError: The rules, the folder or the state do not do.
    """
    given = parser().parse_args(list(words))
    return {"route": _route, "status": _status, "explain": _explain}[given.command](given)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="claimed-med net", description="Route studies.")
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    route = commands.add_parser("route", help="receive studies, work on them, and send them on")
    route.add_argument("rules", type=Path, metavar="RULES.toml")
    route.add_argument("--home", type=Path, default=_HOME, metavar="FOLDER", help="objects, runs, state (%(default)s)")
    status = commands.add_parser("status", help="what became of every study")
    status.add_argument("--home", type=Path, default=_HOME, metavar="FOLDER", help="of the router (%(default)s)")
    status.add_argument("--study", default="", metavar="UID", help="the history of one study")
    status.add_argument("--all", action="store_true", help="list studies that are stored, too")
    status.add_argument("--json", action="store_true", help="print JSON")
    status.add_argument("--retry", action="append", default=[], metavar="UID", help="take it up again; 'all': all")
    explain = commands.add_parser("explain", help="say which rule a study falls under, and why not under the others")
    explain.add_argument("rules", type=Path, metavar="RULES.toml")
    explain.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="files or folders, taken as one study")
    explain.add_argument("--json", action="store_true", help="print JSON")
    return made


def _route(given: argparse.Namespace) -> int:
    from claimed_med.services import router_rules
    from claimed_med.services.receiver import Receiver
    from claimed_med.services.receiver_cli import until_signal
    from claimed_med.services.router import Router, running
    from claimed_med.services.router_metrics import RouterCollector
    from claimed_med.services.router_receiver import settings_of

    be_silent()
    book = router_rules.load(given.rules)
    settings, grace_s = settings_of(book.receiver)
    with until_signal() as ended, running(Router(book, given.home)) as router:
        receiver = Receiver(settings, router.store, router.kept)
        receiver.metrics.registry.register(RouterCollector(router.state))
        receiver.start()
        try:
            print(f"listening on port {receiver.port}", flush=True)
            ended.wait()
        finally:
            receiver.stop(grace_s)
    return 0


def be_silent() -> None:
    """Keep other libraries from writing header values; our own lines hold UIDs and counts only."""
    warnings.simplefilter("ignore")
    for name in ("pydicom", "pynetdicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("claimed_med").setLevel(logging.INFO)


def _status(given: argparse.Namespace) -> int:
    from claimed_med.services.router import STATE
    from claimed_med.services.router_state import State

    if not (given.home / STATE).is_file():
        raise InputError("status", "there is no state of a router in this folder", do="set --home")
    state = State(given.home / STATE)
    try:
        if given.retry:
            return _retry(state, given.retry)
        told = _study_told(state, given.study) if given.study else _all_told(state, every=given.all)
    finally:
        state.close()
    if given.json:
        print(json.dumps(told, indent=1))
    else:
        print("\n".join(_study_lines(told) if given.study else _all_lines(told)))
    return 0


def _retry(state: State, wanted: Sequence[str]) -> int:
    ended = [one.study_uid for one in state.studies("failed", "quarantined")]
    for uid in ended if "all" in wanted else wanted:
        print(f"{state.retry(uid).study_uid}  received")
    return 0


def _row(state: State, study: Study) -> dict[str, Any]:
    return {
        "study_uid": study.study_uid,
        "version": study.version,
        "state": study.state,
        "rule": study.rule,
        "since": _clock(study.changed_at),
        "n_objects": sum(map(len, state.objects(study).values())),
        "tries": study.tries,
        "reason": study.reason,
    }


def _all_told(state: State, *, every: bool) -> dict[str, Any]:
    shown = [one for one in state.studies() if every or one.state != "stored"]
    return {**state.totals(), "listed": [_row(state, one) for one in shown]}


def _study_told(state: State, uid: str) -> dict[str, Any]:
    study = state.study(uid)
    if study is None:
        raise InputError("status", "the router does not know this study", do="check the StudyInstanceUID")
    history = [{**one, "at": _clock(one["at"])} for one in state.history(uid)]
    return {**_row(state, study), "deliveries": state.deliveries(uid), "history": history}


def _all_lines(told: dict[str, Any]) -> list[str]:
    counts = ", ".join(f"{count} {state}" for state, count in told["studies"].items())
    came = f"{told['objects']} objects, {told['repeats_received']} received again, {told['conflicts']} in conflict"
    lines = [f"studies: {counts}", f"received: {came}", *_delivery_lines(told["deliveries"])]
    for one in told["listed"]:
        version = f"v{one['version']}"
        words = (
            f"{one['study_uid']}  {version}  {one['state']:<11}  {one['since']}  {one['n_objects']:>5}  {one['rule']}"
        )
        lines.append(f"{words}  {one['reason']}".rstrip())
    return lines


def _study_lines(told: dict[str, Any]) -> list[str]:
    head = f"{told['study_uid']}  version {told['version']}, {told['state']}, {told['n_objects']} objects"
    lines = [head, f"rule: {told['rule'] or 'none'}", *_delivery_lines(told["deliveries"])]
    return lines + [
        f"{one['at']}  v{one['version']}  {one['state']:<11}  {one['words']}".rstrip() for one in told["history"]
    ]


def _delivery_lines(deliveries: list[dict[str, Any]]) -> list[str]:
    return [
        f"to {one['destination']}: {one['stored']} of {one['objects']} objects are there; "
        f"{one['sends']} sent, {one['repeats']} of them again"
        for one in deliveries
    ]


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _explain(given: argparse.Namespace) -> int:
    from claimed_med.services import router_rules
    from claimed_med.services.router_study import by_series, judge, series_of

    be_silent()
    book = router_rules.load(given.rules)
    files = [file for path in given.paths for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
    series = series_of(by_series(file for file in files if file.is_file()))
    if not series:
        raise InputError("explain", "there is no DICOM object", do="name files, or folders with files")
    verdict = judge(series, book.rules)
    chosen = verdict.rule.name if verdict.rule else ""
    if given.json:
        told = {"rule": chosen, "why_not": dict(verdict.why_not), "missing": list(verdict.missing)}
        print(json.dumps({**told, "n_series": len(series)}, indent=1))
        return 0
    for rule in book.rules:
        if rule.name == chosen:
            print(f"{rule.name}: matches")
            print("\n".join(f"  still missing: {one}" for one in verdict.missing) or "  every required series is here")
        else:
            print("\n".join([f"{rule.name}: no", *(f"  {one}" for one in verdict.why_not[rule.name])]))
    return 0
