"""`claimed-med monitor serve`: the page of deployed models."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from claimed_med.errors import ContractError, InputError, require

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

_DIGEST = re.compile(r"[0-9a-f]{64}")
TOKEN = "CLAIMED_MED_MONITOR_TOKEN"  # noqa: S105 - the name of a variable


def main(words: Sequence[str]) -> int:
    """Run one command; the exit code.

    Raises:
        ContractError: It would listen beyond this machine without a token, or without TLS.
        InputError: Record or reference cannot be read, or the port is taken.
    """
    given = parser().parse_args(list(words))
    uvicorn = require("uvicorn", "monitor")
    require("plotly", "monitor")
    from claimed_med.dicom.web_auth import is_loopback
    from claimed_med.secret import from_environment
    from claimed_med.services.monitor_data import Monitor, Watch
    from claimed_med.services.monitor_page import application

    token = from_environment(TOKEN).decode()
    if not is_loopback(given.host) and not token:
        raise ContractError("monitor", "listens beyond this machine without a token", do=f"set {TOKEN} or {TOKEN}_FILE")
    if not is_loopback(given.host) and not given.cert and not given.behind_tls_proxy:
        do = "give --cert and --key, or say --behind-tls-proxy"
        raise ContractError("monitor", "listens beyond this machine without TLS", do=do)
    _check(given)
    watch = Watch(
        given.record, dict(_reference(one) for one in given.reference), given.window,
        tuple(given.attribute or ("sex", "age_band")), given.limits, tuple(given.pictures), given.last_cases,
    )  # fmt: skip
    monitor = Monitor(watch)
    for digest in monitor.models():
        monitor.ask(digest)  # begun before anybody asks for the page
    host = f"[{given.host}]" if ":" in given.host else given.host
    print(f"{'https' if given.cert else 'http'}://{host}:{given.port}/", flush=True)
    uvicorn.run(
        application(monitor, token), host=given.host, port=given.port, log_level="warning", access_log=False,
        ssl_certfile=given.cert, ssl_keyfile=given.key,
    )  # fmt: skip
    return 0


def _refuse_certificate(given: argparse.Namespace) -> None:
    """Refuse certificate and key that do not do.

    Raises:
        ContractError: One without the other.
        InputError: A file is not there, is none of PEM, or they do not fit.
    """
    from claimed_med.services.listening import refuse_unfit

    if bool(given.cert) != bool(given.key):
        raise ContractError("monitor", "--cert and --key go together")
    for name, path in (("--cert", given.cert), ("--key", given.key)):
        if path is not None and not Path(path).is_file():
            raise InputError("monitor", f"{name} names a file that is not there", do="give a file in PEM")
    if given.cert:
        refuse_unfit(Path(given.cert), Path(given.key), "monitor")


def _check(given: argparse.Namespace) -> None:
    """Refuse what would only be noticed when somebody looks at the page."""
    from claimed_med.services.listening import refuse_taken
    from claimed_med.trust import policy
    from claimed_med.trust.window import check_size

    check_size(given.window, "monitor")
    for name, value, most in (("--last-cases", given.last_cases, 1_000_000), ("--port", given.port, 65_535)):
        if not 1 <= value <= most:
            raise ContractError("monitor", f"{name} is out of range", got=value, allowed=f"1 to {most}")
    if not all(folder.is_dir() for folder in given.pictures):
        raise InputError("monitor", "--pictures names a folder that is not there", do="check the path")
    policy.load(given.limits)
    _refuse_certificate(given)
    refuse_taken(given.host, given.port, "monitor")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="claimed-med monitor", description="Watch deployed models.")
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="show the page of deployed models")
    serve.add_argument("record", help="record of predictions: a path of an SQLite file, or postgresql://host/database")
    serve.add_argument(
        "--reference", action="append", default=[], metavar="[DIGEST=]TABLE",
        help="what a model was validated on (Parquet or CSV); without a digest for every model; may be repeated",
    )  # fmt: skip
    serve.add_argument("--window", default="200", help="cases (200) or hours, days, weeks (7d); default: %(default)s")
    serve.add_argument("--attribute", action="append", metavar="COLUMN", help="protected attribute; may be repeated")
    serve.add_argument("--limits", default="deployed_classifier", metavar="POLICY", help="default: %(default)s")
    serve.add_argument(
        "--pictures", action="append", default=[], type=Path, metavar="FOLDER",
        help="folder with pictures of cases, as render-overview and explain-predictions write them; may be repeated",
    )  # fmt: skip
    serve.add_argument("--last-cases", type=int, default=20_000, metavar="N", help="default: %(default)s")
    serve.add_argument("--host", default="127.0.0.1", help="default: %(default)s; beyond it a token is needed")
    serve.add_argument("--port", type=int, default=8090, help="default: %(default)s")
    serve.add_argument("--cert", default=None, metavar="FILE", help="certificate, PEM: serve over TLS")
    serve.add_argument("--key", default=None, metavar="FILE", help="its key, PEM")
    serve.add_argument("--behind-tls-proxy", action="store_true", help="a proxy in front ends TLS")
    return made


def _reference(word: str) -> tuple[str, pd.DataFrame]:
    from claimed_med.handles import Table

    digest, found, path = ("", "", word) if Path(word).exists() else word.partition("=")
    if found and not _DIGEST.fullmatch(digest):
        raise ContractError("monitor", "--reference takes [DIGEST=]TABLE", got=repr(digest), allowed="64 hex digits")
    place = Path(path if found else word)
    if not place.exists():
        raise InputError("monitor", "there is no such reference table", do="give a Parquet or CSV file")
    return (digest if found else ""), Table(place).load()
