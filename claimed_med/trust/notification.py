"""Tell people: by mail (SMTP with TLS) and to a webhook. Standard library; nothing is sent in the clear elsewhere."""

from __future__ import annotations

import json
import os
import smtplib
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from email.message import EmailMessage
from typing import Any

from claimed_med.errors import ContractError, OutputError
from claimed_med.secret import from_environment
from claimed_med.trust.alert import Alert

_WHERE = "send-notification"
_TIMEOUT_S = 30.0
_PORTS = {"smtp": 587, "smtps": 465}
_HERE = ("127.0.0.1", "localhost", "::1")
USER, PASSWORD, TOKEN, AUTHORITIES = (
    "CLAIMED_MED_SMTP_USER", "CLAIMED_MED_SMTP_PASSWORD", "CLAIMED_MED_WEBHOOK_TOKEN", "CLAIMED_MED_SMTP_CA",
)  # fmt: skip


def text_of(alerts: Sequence[Alert], model: str, link: str) -> str:
    """What people read."""
    lines = [f"The model {model[:12] or '(no digest)'} passes {len(alerts)} limit(s):", ""]
    for one in alerts:
        shown = "missing" if one.value is None else f"{one.value:g}"
        lines.append(f"- {one.why or one.limit}")
        lines.append(f"  {one.limit}; it is {shown}")
        lines += [f"  {', '.join(cause for cause in one.causes if cause)}"] if any(one.causes) else []
    return "\n".join([*lines, *(["", f"Report: {link}"] if link else [])]) + "\n"


def mail(server: str, sender: str, recipients: Sequence[str], subject: str, text: str) -> None:
    """Send one mail to all recipients.

    Args:
        server: `smtps://host:port` (TLS from the start) or `smtp://host:port` (STARTTLS, which must succeed unless the
            host is this machine).
        sender: Address that it comes from.
        recipients: Addresses that it goes to.
        subject: One line.
        text: The body.

    Raises:
        ContractError: The address cannot be read, or sender or recipients are missing.
        OutputError: The server does not take it.
    """
    told = urllib.parse.urlsplit(server)
    if told.scheme not in _PORTS or not told.hostname or not sender or not recipients:
        raise ContractError(_WHERE, "mail needs a server, a sender and recipients", allowed="smtp[s]://host:port")
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = subject, sender, ", ".join(recipients)
    message.set_content(text)
    port = told.port or _PORTS[told.scheme]
    trust = ssl.create_default_context(cafile=os.environ.get(AUTHORITIES) or None)
    try:
        if told.scheme == "smtps":
            with smtplib.SMTP_SSL(told.hostname, port, timeout=_TIMEOUT_S, context=trust) as connection:
                _hand_over(connection, message)
            return
        with smtplib.SMTP(told.hostname, port, timeout=_TIMEOUT_S) as connection:
            connection.ehlo()
            if connection.has_extn("starttls"):
                connection.starttls(context=trust)
            elif told.hostname not in _HERE:
                raise OutputError(_WHERE, "the mail server offers no TLS", do="use one that does")
            _hand_over(connection, message)
    except (OSError, smtplib.SMTPException) as error:
        raise OutputError(_WHERE, "the mail server does not take the mail", got=_reason(error)) from None


def post(url: str, content: dict[str, Any]) -> None:
    """Post JSON to a webhook; a bearer token comes from CLAIMED_MED_WEBHOOK_TOKEN.

    Raises:
        ContractError: The address is no https address, nor on this machine.
        OutputError: The other side does not take it.
    """
    told = urllib.parse.urlsplit(url)
    if told.scheme != "https" and not (told.scheme == "http" and told.hostname in _HERE):
        raise ContractError(_WHERE, "a webhook must be an https address")
    request = urllib.request.Request(url, json.dumps(content).encode(), {"Content-Type": "application/json"})  # noqa: S310 - checked above
    if token := from_environment(TOKEN).decode():
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.build_opener(_Stays).open(request, timeout=_TIMEOUT_S):
            pass
    except (urllib.error.URLError, OSError) as error:
        got = f"HTTP status {error.code}" if isinstance(error, urllib.error.HTTPError) else type(error).__name__
        raise OutputError(_WHERE, "the webhook does not take the message", got=got) from None


class _Stays(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it would take the token to another host, and lose the message."""

    def redirect_request(self, *_: Any) -> None:
        """Refuse; urllib then raises the status as an error."""


def _hand_over(connection: smtplib.SMTP, message: EmailMessage) -> None:
    if user := from_environment(USER).decode():
        connection.login(user, from_environment(PASSWORD).decode())
    if refused := connection.send_message(message):
        raise OutputError(_WHERE, "the mail server refuses some recipients", got=f"{len(refused)} of them")


def _reason(error: Exception) -> str:
    code = getattr(error, "smtp_code", None)
    return f"SMTP status {code}" if code else type(error).__name__
