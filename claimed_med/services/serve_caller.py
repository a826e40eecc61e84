"""Who calls by a client certificate: named by the digest of the certificate, never by what is written in it."""

from __future__ import annotations

import ssl
from asyncio import Transport
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

_KEY, _STATE = "client_certificate", "app_state"


def named(certificate: bytes) -> str:
    """The name of a caller: `certificate-` and the first 16 hex of the SHA-256 fingerprint.

    Args:
        certificate: DER. The fingerprint is what `openssl x509 -noout -fingerprint -sha256` prints.
    """
    return f"certificate-{sha256(certificate).hexdigest()[:16]}"


class NamedProtocol(AutoHTTPProtocol):
    """uvicorn's HTTP protocol, which does not hand the caller's certificate on itself."""

    def connection_made(self, transport: Transport) -> None:
        """Note the certificate of the connection, once."""
        super().connection_made(transport)
        held = transport.get_extra_info("ssl_object")
        given = held.getpeercert(binary_form=True) if held is not None else None
        if given:
            setattr(self, _STATE, {**getattr(self, _STATE), _KEY: named(given)})  # uvicorn copies it into every scope


def of_scope(scope: Mapping[str, Any]) -> str:
    """The name of who sends an HTTP request, or '' without a certificate."""
    return str(scope.get("state", {}).get(_KEY, ""))


def of_call(context: Any) -> str:
    """The name of who makes a gRPC call, or '' without a certificate."""
    found = context.auth_context().get("x509_pem_cert", []) if hasattr(context, "auth_context") else []
    return named(ssl.PEM_cert_to_DER_cert(found[0].decode("ascii"))) if found else ""
