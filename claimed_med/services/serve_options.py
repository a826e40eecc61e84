"""`claimed-med serve BUNDLE ...`: what can be set, and what may not be set together."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from claimed_med.dicom.web_auth import is_loopback
from claimed_med.errors import ContractError, InputError
from claimed_med.services.serve_error import WHERE

MIB = 1 << 20
_CANARY = 10  # [%]
_DIGEST, _NAME = re.compile(r"[0-9a-f]{64}"), re.compile(r"[A-Za-z0-9][-\w.]*", re.ASCII)
_RANGES = {  # field -> option, its unit, lowest and highest value
    "canary_percent": ("--canary-percent", 1, 0, 100),
    "http_port": ("--http-port", 1, 0, 65_535),
    "grpc_port": ("--grpc-port", 1, -1, 65_535),
    "max_upload": ("--max-upload-mib", MIB, 1, 1_000_000),
    "max_voxels": ("--max-megavoxels", 1_000_000, 1, 1_000_000),
    "max_waiting": ("--max-waiting", 1, 1, 100_000),
    "max_batch": ("--max-batch", 1, 1, 1024),
    "n_dicom": ("--dicom-workers", 1, 1, 1024),
    "deadline_s": ("--deadline-s", 1, 0.001, 86_400),
    "grace_s": ("--grace-s", 1, 0, 86_400),
}


@dataclass(frozen=True)
class Tls:
    """Certificates, PEM.

    Attributes:
        certificate: Our own.
        key: Its key.
        authority: Who may call: authorities of client certificates; None for no mutual TLS.
    """

    certificate: Path
    key: Path
    authority: Path | None = None


@dataclass(frozen=True)
class Options:
    """How to serve; limits in bytes, voxels and seconds.

    Attributes:
        bundle: Bundle or servable folder.
        decision: Decision on it, or None.
        canary: Another one, or None.
        canary_decision: Decision on that.
        canary_percent: Share of the inputs that it answers.
        override: Why an unblessed model is served; '' for not at all.
        expect: Digest that the stable bundle must have; '' for any.
        name: Of the model.
        host: Address to listen on.
        http_port: 0 for any.
        grpc_port: 0 for any, -1 for none.
        tokens: Name of the caller -> sha256 of its token.
        token_file: Where they come from.
        tls: Certificates, or None.
        behind_tls_proxy: A proxy in front ends TLS.
        open_metrics: /metrics needs no token.
        origins: `https://host:port` of the archives that requests may name.
        max_upload: Largest body [bytes].
        max_voxels: Most voxels of a request.
        max_waiting: Most requests that wait.
        max_batch: Most images that are computed at once; 1 for no batching.
        n_dicom: DICOM requests that are worked on at once.
        deadline_s: Longest time of a request.
        grace_s: Longest time to finish after SIGTERM.
        log: Record of predictions.
        audit: File of audit lines; '' for standard output.
        work: Folder for uploads and copies; None for the system's.
        lineage: Folder that keeps the lineage record of every object made from DICOM; None to keep none.
        pictures: Folder that keeps pictures of cases for people who monitor; None to draw none.
    """

    bundle: Path
    decision: Path | None = None
    canary: Path | None = None
    canary_decision: Path | None = None
    canary_percent: int = 0
    override: str = ""
    expect: str = ""
    name: str = "model"
    host: str = "127.0.0.1"
    http_port: int = 8080
    grpc_port: int = 8081
    tokens: dict[str, str] = field(default_factory=dict, repr=False)
    token_file: Path | None = None
    tls: Tls | None = None
    behind_tls_proxy: bool = False
    open_metrics: bool = False
    origins: frozenset[str] = frozenset()
    max_upload: int = 512 * MIB
    max_voxels: int = 256_000_000
    max_waiting: int = 64
    max_batch: int = 8
    n_dicom: int = 2
    deadline_s: float = 300.0
    grace_s: float = 60.0
    log: str = "predictions.sqlite"
    audit: str = ""
    work: Path | None = None
    lineage: Path | None = None
    pictures: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what would be open to others without proof of who they are.

        Raises:
            ContractError: No token or client certificate on an address that others reach, a token without TLS, a
                number out of range, or one port for both.
            InputError: A certificate that cannot be read, or has expired.
        """
        if not is_loopback(self.host):
            is_mutual = self.tls is not None and self.tls.authority is not None
            if not (self.tokens or is_mutual):
                do = "give --token-file, or --tls-cert, --tls-key and --tls-ca"
                raise ContractError(WHERE, "an address that others reach needs proof of who they are", do=do)
            if self.tls is None and not self.behind_tls_proxy:
                do = "give --tls-cert and --tls-key, or say --behind-tls-proxy"
                raise ContractError(WHERE, "tokens are not sent in the clear", do=do)
        if self.http_port == self.grpc_port > 0:
            do = "choose another for one of them"
            raise ContractError(WHERE, "--http-port and --grpc-port are the same", got=self.http_port, do=do)
        if self.tls is not None:
            _check_certificate(self.tls)
        for name, (option, unit, low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low * unit <= value <= high * unit:
                raise ContractError(
                    WHERE, f"{option} is out of range", got=f"{value / unit:g}", allowed=f"{low} to {high}"
                )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="claimed-med serve", description="Serve a blessed model: V1, Open Inference Protocol v2, DICOM.",
        allow_abbrev=False,
    )  # fmt: skip
    made.add_argument("bundle", type=Path, metavar="BUNDLE", help="model bundle, or servable folder of package-model")
    made.add_argument("--decision", type=Path, metavar="FOLDER", help="decision on it (default: the one of the folder)")
    made.add_argument("--expect", default="", metavar="SHA256", help="serve this bundle only, at SIGHUP too")
    made.add_argument("--override", default="", metavar="WHY", help="serve without a blessing; recorded everywhere")
    made.add_argument("--name", default="model", metavar="NAME", help="of the model (default: %(default)s)")
    canary = made.add_argument_group("canary (SIGHUP takes over what the paths hold then)")
    canary.add_argument("--canary", type=Path, metavar="BUNDLE", help="a second model that answers a part")
    canary.add_argument("--canary-decision", type=Path, metavar="FOLDER", help="decision on it")
    canary.add_argument("--canary-percent", type=int, default=None, metavar="N", help=f"its part (default: {_CANARY})")
    place = made.add_argument_group("address")
    place.add_argument("--host", default="127.0.0.1", help="default: %(default)s; any other needs proof of the caller")
    place.add_argument("--http-port", type=int, default=8080, metavar="N", help="default: %(default)s; 0 for any")
    place.add_argument("--grpc-port", type=int, default=8081, metavar="N", help="%(default)s; 0 for any, -1 for none")
    _access_options(made)
    _limit_options(made)
    kept = made.add_argument_group("what is kept")
    kept.add_argument(
        "--log", default="predictions.sqlite", metavar="URL", help="record of predictions: path or postgresql://..."
    )
    kept.add_argument("--audit", default="", metavar="FILE", help="audit lines (default: standard output)")
    kept.add_argument("--lineage", type=Path, metavar="FOLDER", help="keep the lineage record of every DICOM answer")
    kept.add_argument(
        "--pictures", type=Path, metavar="FOLDER", help="keep overview and explanations of cases: pixels of patients"
    )
    kept.add_argument("--work", type=Path, default=None, metavar="FOLDER", help="for uploads and copies of models")
    return made


def _access_options(made: argparse.ArgumentParser) -> None:
    access = made.add_argument_group("access")
    access.add_argument(
        "--token-file", type=Path, metavar="FILE", help="lines NAME:TOKEN, tokens of 16 or more letters"
    )
    access.add_argument("--tls-cert", type=Path, metavar="FILE", help="our certificate, PEM")
    access.add_argument("--tls-key", type=Path, metavar="FILE", help="its key, PEM")
    access.add_argument("--tls-ca", type=Path, metavar="FILE", help="authorities of client certificates (mutual TLS)")
    access.add_argument("--behind-tls-proxy", action="store_true", help="a proxy on this machine or pod ends TLS")
    access.add_argument("--open-metrics", action="store_true", help="/metrics needs no token")
    access.add_argument(
        "--allow-origin", action="append", default=[], metavar="URL", help="archive that requests may name; repeatable"
    )


def _limit_options(made: argparse.ArgumentParser) -> None:
    limits = made.add_argument_group("limits")
    limits.add_argument("--max-upload-mib", type=int, default=512, metavar="N", help="default: %(default)s")
    limits.add_argument("--max-megavoxels", type=int, default=256, metavar="N", help="of a request (%(default)s)")
    limits.add_argument("--max-waiting", type=int, default=64, metavar="N", help="requests in the queue (%(default)s)")
    limits.add_argument(
        "--max-batch", type=int, default=8, metavar="N", help="images at once (%(default)s; 1: no batching)"
    )
    limits.add_argument(
        "--dicom-workers", type=int, default=2, metavar="N", help="DICOM requests at once (%(default)s)"
    )
    limits.add_argument("--deadline-s", type=float, default=300.0, metavar="S", help="of a request (%(default)s)")
    limits.add_argument(
        "--grace-s", type=float, default=60.0, metavar="S", help="to finish after SIGTERM (%(default)s)"
    )


def parse(words: Sequence[str]) -> Options:
    """The options of a command line.

    Raises:
        ContractError: As `Options`.
        InputError: A file that cannot be read, or does not hold what it should.
    """
    given = parser().parse_args(list(words))
    if not given.canary and (given.canary_decision or given.canary_percent is not None):
        raise ContractError(WHERE, "--canary-decision and --canary-percent need --canary", do="name the second model")
    if given.expect and not _DIGEST.fullmatch(given.expect):
        raise ContractError(WHERE, "--expect takes the digest of a bundle", got=given.expect, allowed="64 hex digits")
    if not _NAME.fullmatch(given.name):
        raise ContractError(
            WHERE, "--name cannot stand in an address", got=repr(given.name), allowed="letters, digits, - _ ."
        )
    if bool(given.tls_cert) != bool(given.tls_key) or (given.tls_ca and not given.tls_cert):
        raise ContractError(WHERE, "--tls-cert and --tls-key go together, and --tls-ca needs them")
    tls = Tls(given.tls_cert, given.tls_key, given.tls_ca) if given.tls_cert else None
    return Options(
        bundle=given.bundle,
        decision=given.decision,
        canary=given.canary,
        canary_decision=given.canary_decision,
        canary_percent=(_CANARY if given.canary_percent is None else given.canary_percent) if given.canary else 0,
        override=given.override,
        expect=given.expect,
        name=given.name,
        host=given.host,
        http_port=given.http_port,
        grpc_port=given.grpc_port,
        tokens=read_tokens(given.token_file) if given.token_file else {},
        token_file=given.token_file,
        tls=tls,
        behind_tls_proxy=given.behind_tls_proxy,
        open_metrics=given.open_metrics,
        origins=frozenset(origin_of(one) for one in given.allow_origin),
        max_upload=given.max_upload_mib * MIB,
        max_voxels=given.max_megavoxels * 1_000_000,
        max_waiting=given.max_waiting,
        max_batch=given.max_batch,
        n_dicom=given.dicom_workers,
        deadline_s=given.deadline_s,
        grace_s=given.grace_s,
        log=given.log,
        audit=given.audit,
        work=given.work,
        lineage=given.lineage,
        pictures=given.pictures,
    )


def read_tokens(file: Path) -> dict[str, str]:
    """Name of the caller -> sha256 of its token, from lines `NAME:TOKEN`.

    Raises:
        InputError: The file cannot be read, is empty, or a token is short.
    """
    from hashlib import sha256

    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError):
        lines = []
    pairs = [line.partition(":")[::2] for line in lines if not line.startswith("#")]
    if not pairs or any(not name or len(token.strip()) < 16 for name, token in pairs):
        raise InputError(WHERE, "--token-file is no list of tokens", allowed="lines NAME:TOKEN, 16 letters or more")
    return {name.strip(): sha256(token.strip().encode()).hexdigest() for name, token in pairs}


def origin_of(url: str) -> str:
    """`scheme://host:port` of an address.

    Raises:
        ContractError: It is no http(s) address, or holds a name or password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
        has_user = bool(parts.username or parts.password)
    except ValueError:
        parts, port, has_user = urlsplit(""), None, False
    if parts.scheme not in {"http", "https"} or not parts.hostname or port is None or has_user:
        raise ContractError(WHERE, "an address is none of an archive", allowed="https://HOST[:PORT]/PATH")
    return f"{parts.scheme}://{parts.hostname.lower()}:{port}"


def _check_certificate(tls: Tls) -> None:
    from cryptography import x509

    from claimed_med.services.listening import refuse_unfit

    refuse_unfit(tls.certificate, tls.key, WHERE)
    try:
        found = x509.load_pem_x509_certificates(tls.certificate.read_bytes())[0]
        if tls.authority is not None:
            x509.load_pem_x509_certificates(tls.authority.read_bytes())
    except (OSError, ValueError, IndexError):
        raise InputError(WHERE, "a certificate cannot be read", allowed="PEM") from None
    if found.not_valid_after_utc <= datetime.now(UTC):
        raise InputError(WHERE, "our certificate has expired", do="renew it")
