"""`claimed-med net serve`: the receiver as a program, from its words to its end by a signal."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from claimed_med.dicom.net_tls import Tls
from claimed_med.services.incoming import Store
from claimed_med.services.receiver import Receiver, ReceiverSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MIB = 1 << 20


def serve(argv: Sequence[str] | None = None) -> int:
    """Receive until SIGTERM or SIGINT; the exit code.

    Raises:
        ContractError: A setting is not allowed.
        InputError: The port or the folder is taken, or the certificate cannot be used.
    """
    given = parser().parse_args(argv)
    start_log()
    receiver = Receiver(settings_from(given), Store(given.folder))
    with until_signal() as ended:
        receiver.start()
        print(f"listening on port {receiver.port}", flush=True)
        ended.wait()
        receiver.stop(given.grace_s)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="claimed-med net serve",
        description="Receive DICOM objects (C-STORE, C-ECHO). Each is durable before its sender hears of success.",
    )
    made.add_argument("folder", type=Path, help="gets <StudyInstanceUID>/<SOPInstanceUID>.dcm")
    add_options(made)
    return made


def add_options(made: argparse.ArgumentParser) -> None:
    """Add everything but the folder, for other programs that hold a receiver."""
    usual = ReceiverSettings()
    where = made.add_argument_group("where")
    where.add_argument(
        "--host", default=usual.host, help="address to bind to (default: %(default)s, this machine only)"
    )
    where.add_argument("--port", type=int, default=usual.port, help="0: any free one (default: %(default)s)")
    where.add_argument("--aet", default=usual.aet, metavar="TITLE", help="our AE title (default: %(default)s)")
    who = made.add_argument_group(
        "who may store (needed when --host is not this machine, unless clients show certificates)"
    )
    who.add_argument(
        "--allow-aet", action="append", default=[], metavar="TITLE", help="may be repeated; none: every title"
    )
    who.add_argument(
        "--allow-address",
        action="append",
        default=[],
        metavar="NETWORK",
        help="10.1.2.3 or 10.1.0.0/16; may be repeated",
    )
    tls = made.add_argument_group("TLS (default: CLAIMED_MED_TLS_CERT, _KEY and _CA, with --tls)")
    tls.add_argument("--tls", action="store_true", help="only TLS connections")
    tls.add_argument("--cert", type=Path, default=None, metavar="FILE", help="our certificate, PEM")
    tls.add_argument("--key", type=Path, default=None, metavar="FILE", help="its key, PEM")
    tls.add_argument(
        "--ca", type=Path, default=None, metavar="FILE", help="clients must show a certificate of these, PEM"
    )
    most = made.add_argument_group("limits")
    most.add_argument("--max-associations", type=int, default=usual.max_associations, metavar="N", help="(%(default)s)")
    most.add_argument("--max-pdu-bytes", type=int, default=usual.max_pdu_bytes, metavar="N", help="(%(default)s)")
    most.add_argument(
        "--max-object-mib", type=int, default=usual.max_object_bytes // _MIB, metavar="N", help="(%(default)s)"
    )
    most.add_argument(
        "--min-free-mib", type=int, default=usual.min_free_bytes // _MIB, metavar="N", help="kept free (%(default)s)"
    )
    made.add_argument(
        "--metrics-port", type=int, default=0, metavar="N", help="Prometheus metrics there, this machine only (none)"
    )
    made.add_argument(
        "--grace-s", type=float, default=10.0, metavar="S", help="for objects on their way at the end (10)"
    )


def settings_from(given: argparse.Namespace) -> ReceiverSettings:
    """Settings from the words of `add_options`.

    Raises:
        ContractError: They are not allowed.
    """
    own = Tls.from_environment()
    secure = given.tls or given.cert is not None
    return ReceiverSettings(
        host=given.host,
        port=given.port,
        aet=given.aet,
        allowed_aets=frozenset(given.allow_aet),
        allowed_addresses=tuple(given.allow_address),
        tls=Tls(given.ca or own.ca, given.cert or own.cert, given.key or own.key) if secure else None,
        max_associations=given.max_associations,
        max_pdu_bytes=given.max_pdu_bytes,
        max_object_bytes=given.max_object_mib * _MIB,
        min_free_bytes=given.min_free_mib * _MIB,
        metrics_port=given.metrics_port,
    )


def start_log() -> None:
    """Log to standard error, one line an event: codes, counts and UIDs only."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s level=%(levelname)s logger=%(name)s %(message)s"
    )
    logging.getLogger("claimed_med.receiver").setLevel(logging.INFO)


@contextmanager
def until_signal() -> Iterator[threading.Event]:
    """An event that is set by SIGTERM and SIGINT during the block."""
    ended = threading.Event()
    before = {number: signal.signal(number, lambda *_: ended.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
