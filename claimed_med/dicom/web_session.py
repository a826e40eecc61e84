"""One HTTP session to an archive: credentials from the environment, time-outs, no redirect to strangers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from claimed_med.errors import ContractError, InputError

PREFIX = "CLAIMED_MED_DICOMWEB_"
CONNECT_S, READ_S = 10.0, 120.0
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Session(requests.Session):
    """A session that stays with one origin.

    Args:
        url: Of the DICOMweb service.

    Raises:
        ContractError: The address is no http or https URL, or credentials would go over plain http to another host.
        InputError: A file that the environment names cannot be read.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self.trust_env = False  # no .netrc, no proxy by accident
        self.origin = _origin(url)
        token, user, password = given("TOKEN"), given("USER"), given("PASSWORD")
        if (token or password) and not self.origin.startswith("https:") and _host(url) not in _LOOPBACK:
            raise ContractError("DICOMweb", "credentials do not go over plain http", do="use an https address")
        if token:
            self.headers["Authorization"] = f"Bearer {token}"
        elif user:
            self.auth = (user, password)
        certificate, key = os.environ.get(f"{PREFIX}CERT", ""), os.environ.get(f"{PREFIX}KEY", "")
        if certificate:
            self.cert = (certificate, key) if key else certificate
        if authority := os.environ.get(f"{PREFIX}CA", ""):
            self.verify = authority

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **options: Any) -> requests.Response:  # type: ignore[override]
        """As requests does it, with a time-out."""
        if options.get("timeout") is None:
            options["timeout"] = (CONNECT_S, READ_S)
        return super().request(method, url, *args, **options)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Follow redirects within the origin only.

        Raises:
            InputError: The archive points elsewhere.
        """
        target = super().get_redirect_target(resp)
        if target and urlsplit(target).netloc and _origin(target) != self.origin:
            resp.close()
            raise InputError("DICOMweb", "the archive redirects to another server", do="give that address itself")
        return target


def given(name: str) -> str:
    """A secret from the environment, or from the file that `<name>_FILE` names.

    Raises:
        InputError: The file cannot be read.
    """
    if value := os.environ.get(f"{PREFIX}{name}", ""):
        return value
    if file := os.environ.get(f"{PREFIX}{name}_FILE", ""):
        try:
            return Path(file).read_text(encoding="utf-8").strip()
        except OSError:
            raise InputError("DICOMweb", f"the file that {PREFIX}{name}_FILE names cannot be read") from None
    return ""


def _origin(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ContractError("DICOMweb", "the address is no http or https URL", do="write https://host/dicom-web")
    if parts.username or parts.password:
        raise ContractError("DICOMweb", "the address holds credentials", do=f"set {PREFIX}TOKEN or {PREFIX}USER")
    return f"{parts.scheme}://{parts.netloc}".lower()


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""
