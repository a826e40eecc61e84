"""Whether a server could listen: asked before anything is loaded for callers who would never come."""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING

from claimed_med.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


def refuse_taken(host: str, port: int, where: str) -> None:
    """Refuse a port that cannot be opened.

    Args:
        host: Address to listen on.
        port: 0 for any.
        where: Who speaks.

    Raises:
        InputError: Another program has the port, or the address is none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:  # by itself: create_server passes on no more than the number of its error
        socket.getaddrinfo(host or None, port, family, socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise InputError(where, "the address to listen on has no such name", do="choose another address") from None
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        do = "choose another address or port"
        raise InputError(where, f"the port {port} cannot be opened", got=os.strerror(error.errno or 0), do=do) from None


def refuse_unfit(certificate: Path, key: Path, where: str) -> None:
    """Refuse a certificate and its key that no TLS can be made with; nobody is asked for the password of a key.

    Args:
        certificate: PEM, those of its issuers after it.
        key: PEM, not encrypted.
        where: Who speaks.

    Raises:
        InputError: One of them cannot be read, or they do not fit.
    """
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key, password="")
    except OSError:
        what = "certificate or key cannot be read, or they do not fit"
        raise InputError(where, what, allowed="PEM, the key not encrypted") from None
