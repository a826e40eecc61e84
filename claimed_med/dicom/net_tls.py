"""TLS for DIMSE, both ways: certificates are read from files, TLS 1.2 is the oldest version. Standard library only."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

from claimed_med.errors import InputError

CA, CERT, KEY = "CLAIMED_MED_TLS_CA", "CLAIMED_MED_TLS_CERT", "CLAIMED_MED_TLS_KEY"


@dataclass(frozen=True)
class Tls:
    """Files for TLS; no secret itself.

    Attributes:
        ca: PEM with the authorities to trust; None trusts those of this machine.
        cert: PEM with the own certificate chain, or None.
        key: PEM with the own private key, not encrypted, readable by this user only; or None.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    @classmethod
    def from_environment(cls) -> Tls:
        """The files that CLAIMED_MED_TLS_CA, CLAIMED_MED_TLS_CERT and CLAIMED_MED_TLS_KEY name."""
        ca, cert, key = (Path(given) if (given := os.environ.get(one)) else None for one in (CA, CERT, KEY))
        return cls(ca, cert, key)


def client_context(ca: Path | None, cert: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """A context for connections that we open: the server's certificate and host name are checked.

    Args:
        ca: PEM with the authorities to trust; None trusts those of this machine.
        cert: PEM with our certificate chain, for servers that ask for one.
        key: PEM with its private key.

    Raises:
        InputError: A file cannot be read or does not hold what it should.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _trust(context, ca)
    if cert is not None or key is not None:
        _show(context, cert, key)
    return context


def server_context(cert: Path, key: Path, ca: Path | None = None) -> ssl.SSLContext:
    """A context for connections that others open to us.

    Args:
        cert: PEM with our certificate chain.
        key: PEM with its private key.
        ca: PEM with the authorities whose clients are let in; None asks for no client certificate.

    Raises:
        InputError: A file cannot be read or does not hold what it should.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _show(context, cert, key)
    if ca is not None:
        _trust(context, ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _trust(context: ssl.SSLContext, ca: Path | None) -> None:
    if ca is None:
        context.load_default_certs()
        return
    try:
        context.load_verify_locations(cafile=ca)
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        raise InputError(
            "tls", "the file of trusted authorities cannot be used", allowed="readable PEM certificates"
        ) from None


def _show(context: ssl.SSLContext, cert: Path | None, key: Path | None) -> None:
    if cert is None or key is None:
        raise InputError("tls", "a certificate and its key belong together", do=f"set both {CERT} and {KEY}")
    try:
        context.load_cert_chain(cert, key, password="")  # an encrypted key fails instead of asking
    except (OSError, ValueError):
        raise InputError(
            "tls",
            "the certificate and key cannot be used together",
            allowed="two readable PEM files, the key not encrypted",
        ) from None
