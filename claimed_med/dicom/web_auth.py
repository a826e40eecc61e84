"""Who we are to a DICOMweb server: from the environment or secret files, never from a command line.

    CLAIMED_MED_DICOMWEB_TOKEN                       bearer token
    CLAIMED_MED_DICOMWEB_USER, ..._PASSWORD          basic authentication
    CLAIMED_MED_DICOMWEB_CERT, ..._KEY, ..._CA       paths of client certificate, its key, and of the authority to trust

TOKEN, USER and PASSWORD may end in _FILE: then the value is the content of that file.
"""

from __future__ import annotations

import base64
import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from claimed_med.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "CLAIMED_MED_DICOMWEB_"
_WHERE = "dicomweb"


@dataclass(frozen=True)
class Credentials:
    """What proves who we are; never shown.

    Attributes:
        authorization: Value of the Authorization header, or ''.
        certificate: Path of the client certificate (PEM), or ''.
        key: Path of its private key (PEM), or '' when the certificate's file holds it.
        authority: Path of the certificates to trust (PEM), or '' for the ones that requests trusts.
    """

    authorization: str = field(default="", repr=False)
    certificate: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    authority: str = field(default="", repr=False)

    @property
    def are_secret(self) -> bool:
        """Whether there is anything that a listener must not see."""
        return bool(self.authorization or self.certificate)


def bearer(token: str) -> Credentials:
    """Credentials of a bearer token."""
    return Credentials(f"Bearer {token}")


def basic(user: str, password: str) -> Credentials:
    """Credentials of a name and a password."""
    return Credentials("Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii"))


def from_environment(environment: Mapping[str, str] | None = None) -> Credentials:
    """The credentials that the environment, or the files that it names, hold; empty where there are none.

    Raises:
        ContractError: A file cannot be read, values do not go together, or one cannot stand in an HTTP header.
    """
    given = os.environ if environment is None else environment
    token, user, password = (_secret(given, name) for name in ("TOKEN", "USER", "PASSWORD"))
    certificate, key, authority = (_path(given, name) for name in ("CERT", "KEY", "CA"))
    if token and (user or password):
        raise ContractError(_WHERE, f"{PREFIX}TOKEN and {PREFIX}USER are both set", do="set one of them")
    if bool(user) != bool(password) or ":" in user:
        raise ContractError(_WHERE, f"{PREFIX}USER and {PREFIX}PASSWORD go together; USER has no colon")
    if key and not certificate:
        raise ContractError(_WHERE, f"{PREFIX}KEY is set without {PREFIX}CERT")
    authorization = bearer(token).authorization if token else basic(user, password).authorization if user else ""
    return Credentials(authorization, certificate, key, authority)


def check_address(url: str, credentials: Credentials) -> None:
    """Refuse an address that would give a secret away.

    Args:
        url: Of the DICOMweb service; it is never repeated in an error.
        credentials: What would be sent there.

    Raises:
        ContractError: It is no http(s) address, holds a password, a query or a fragment, or credentials would go
            over plain http to another machine.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in {"http", "https"} or not host:
        raise ContractError(_WHERE, "url is no address of a server", allowed="https://HOST[:PORT]/PATH")
    if parts.username or parts.password:
        raise ContractError(_WHERE, "url holds a name or password", do=f"set {PREFIX}USER and {PREFIX}PASSWORD_FILE")
    if parts.query or parts.fragment:
        raise ContractError(_WHERE, "url holds a query or fragment", allowed="https://HOST[:PORT]/PATH")
    if credentials.are_secret and parts.scheme == "http" and not is_loopback(host):
        raise ContractError(_WHERE, "credentials are not sent over plain http to another machine", do="use https")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name or address; IPv6 with or without brackets."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _secret(given: Mapping[str, str], name: str) -> str:
    """A value, or the content of the file that the variable with _FILE names."""
    value, file = given.get(PREFIX + name, ""), given.get(f"{PREFIX}{name}_FILE", "")
    if not value and file:
        try:
            value = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            value = ""
        if not value:
            raise ContractError(_WHERE, f"the file that {PREFIX}{name}_FILE names is empty or cannot be read")
    if not value.isprintable():
        raise ContractError(_WHERE, f"{PREFIX}{name} holds characters that cannot be sent")
    return value


def _path(given: Mapping[str, str], name: str) -> str:
    value = given.get(PREFIX + name, "")
    if value and not Path(value).is_file():
        raise ContractError(_WHERE, f"the file that {PREFIX}{name} names does not exist")
    return value
