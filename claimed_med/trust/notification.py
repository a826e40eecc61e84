"""Tell people: by mail (SMTP with TLS) and to a webhook. Standard library; nothing is sent in the clear elsewhere."""

from __future__ import annotations

import functools
import hashlib
import http.client
import json
import os
import smtplib
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Any

from claimed_med.errors import ContractError, OutputError
from claimed_med.secret import from_environment
from claimed_med.trust.alert import Alert, Cause, only
from claimed_med.trust.told import Told

_WHERE = "send-notification"
_TIMEOUT_S = 30.0
_MOST_CAUSES = 40  # lines of one message
_PORTS = {"smtp": 587, "smtps": 465}
_HERE = ("127.0.0.1", "localhost", "::1")
USER, PASSWORD, TOKEN, AUTHORITIES = (
    "CLAIMED_MED_SMTP_USER", "CLAIMED_MED_SMTP_PASSWORD", "CLAIMED_MED_WEBHOOK_TOKEN", "CLAIMED_MED_SMTP_CA",
)  # fmt: skip


def text_of(alerts: Sequence[Alert], model: str, link: str) -> str:
    """What people read: a line for everything that passes a limit, with its windows."""
    lines = [f"The model {model[:12] or '(no digest)'} passes {len(alerts)} limit(s):", ""]
    left = _MOST_CAUSES
    for one in alerts:
        shown = "missing" if one.value is None else f"{one.value:g}"
        lines.append(f"- {one.why or one.limit}")
        lines.append(f"  {one.limit}; it is {shown}" + ("" if one.now else "; no longer in the newest window"))
        lines += [f"  {_line(cause)}" for cause in one.causes[:left] if _line(cause)]
        left = max(0, left - len(one.causes))
    n_causes = sum(len(one.causes) for one in alerts)
    lines += [f"- and {n_causes - _MOST_CAUSES} more, see the report"] if n_causes > _MOST_CAUSES else []
    return "\n".join([*lines, *(["", f"Report: {link}"] if link else [])]) + "\n"


def _line(cause: Cause) -> str:
    """`scanner: windows 3, 5 to 7 (until 2026-02-01 12:00)`."""
    runs = [one.windows for one in cause.episodes if one.windows]
    if not runs:
        return cause.name
    numbers = [[name.partition(":")[0] for name in run] for run in runs]
    told = ", ".join(run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in numbers)
    until = runs[-1][-1].partition(" to ")[2]
    several = len(numbers) > 1 or len(numbers[0]) > 1
    place = f"window{'s' if several else ''} {told}{f' (until {until})' if until else ''}"
    return f"{cause.name}: {place}" if cause.name else place


@dataclass(frozen=True)
class Channel:
    """A way to one recipient.

    Attributes:
        name: Under which it is kept what went this way: the kind, and a digest of the address.
        send: Hands a message over: alerts, model, link to the report.
    """

    name: str
    send: Callable[[Sequence[Alert], str, str], None]


def channels(server: str, sender: str, recipients: Sequence[str], webhook: str) -> list[Channel]:
    """The ways to all recipients: one a mail address, since a server may take one and refuse another, and the webhook.

    Args:
        server: As `mail` takes it; '' for no mail.
        sender: As `mail` takes it.
        recipients: Addresses that each get a mail.
        webhook: As `post` takes it; '' for none.

    Raises:
        ContractError: An address cannot be read; nothing is sent then.
    """

    def by_mail(recipient: str, alerts: Sequence[Alert], model: str, link: str) -> None:
        subject = f"claimed_med: model {model[:12]} passes {len(alerts)} limit(s)"
        mail(server, sender, recipient, subject, text_of(alerts, model, link))

    def by_webhook(alerts: Sequence[Alert], model: str, link: str) -> None:
        told = {"model": model, "text": text_of(alerts, model, link), "alerts": [asdict(one) for one in alerts]}
        post(webhook, told)

    if server:
        _check_mail(server, sender, recipients)
    if webhook:
        _check_webhook(webhook)
    mails = [Channel(_name("mail", one), functools.partial(by_mail, one)) for one in recipients if server]
    return mails + ([Channel(_name("webhook", webhook), by_webhook)] if webhook else [])


def tell(ways: Sequence[Channel], alerts: Sequence[Alert], model: str, link: str, memory: Told | None) -> list[Alert]:
    """Tell every channel what it does not know yet; one that fails keeps no other from being told.

    Args:
        ways: From `channels`.
        alerts: All limits that are passed.
        model: Digest of the model.
        link: Address of the report.
        memory: What was told before; None tells everything.

    Returns:
        What was new to any of them; everything where there is no channel.

    Raises:
        OutputError: Some channel does not take its message. Only that one is tried again in the next run.
    """
    news = {way.name: memory.news(way.name, alerts) if memory else list(alerts) for way in ways}
    failed: list[OutputError] = []
    for way in ways:
        try:
            if news[way.name]:
                way.send(news[way.name], model, link)
        except OutputError as error:
            failed.append(error)
            continue
        if memory:
            memory.remember(way.name, alerts)
    if failed:
        what = "; ".join(f"{one.what} ({one.got})" if one.got else one.what for one in failed)
        raise OutputError(_WHERE, what, do="run again: only what failed is sent again")
    sent = {(one.key, cause.name, episode) for found in news.values() for one in found for cause in one.causes
            for episode in cause.episodes}  # fmt: skip
    return only(alerts, lambda *told: told in sent) if ways else list(alerts)


def mail(server: str, sender: str, recipient: str, subject: str, text: str) -> None:
    """Send one mail.

    Args:
        server: `smtps://host:port` (TLS from the start) or `smtp://host:port` (STARTTLS, which must succeed unless the
            host is this machine).
        sender: Address that it comes from.
        recipient: Address that it goes to.
        subject: One line.
        text: The body.

    Raises:
        ContractError: The address cannot be read, or sender or recipient are missing.
        OutputError: The server does not take it.
    """
    told = _check_mail(server, sender, [recipient])
    host, port = str(told.hostname), told.port or _PORTS[told.scheme]
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = subject, sender, recipient
    message.set_content(text)
    trust = ssl.create_default_context(cafile=os.environ.get(AUTHORITIES) or None)
    try:
        if told.scheme == "smtps":
            with smtplib.SMTP_SSL(host, port, timeout=_TIMEOUT_S, context=trust) as connection:
                _hand_over(connection, message)
            return
        with smtplib.SMTP(host, port, timeout=_TIMEOUT_S) as connection:
            connection.ehlo()
            if connection.has_extn("starttls"):
                connection.starttls(context=trust)
            elif host not in _HERE:
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
    _check_webhook(url)
    request = urllib.request.Request(url, json.dumps(content).encode(), {"Content-Type": "application/json"})  # noqa: S310 - checked above
    if token := from_environment(TOKEN).decode():
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.build_opener(_Stays).open(request, timeout=_TIMEOUT_S):
            pass
    except urllib.error.HTTPError as error:
        error.close()
        raise OutputError(_WHERE, "the webhook does not take the message", got=f"HTTP status {error.code}") from None
    except (OSError, http.client.HTTPException) as error:
        raise OutputError(_WHERE, "the webhook does not take the message", got=type(error).__name__) from None


class _Stays(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it would take the token to another host, and lose the message."""

    def redirect_request(self, *_: Any) -> None:
        """Refuse; urllib then raises the status as an error."""


def _hand_over(connection: smtplib.SMTP, message: EmailMessage) -> None:
    if user := from_environment(USER).decode():
        connection.login(user, from_environment(PASSWORD).decode())
    connection.send_message(message)


def _check_mail(server: str, sender: str, recipients: Sequence[str]) -> urllib.parse.SplitResult:
    told = urllib.parse.urlsplit(server)
    if told.scheme not in _PORTS or not told.hostname or not sender or not recipients:
        raise ContractError(_WHERE, "mail needs a server, a sender and recipients", allowed="smtp[s]://host:port")
    for one in (sender, *recipients):
        try:
            Address(addr_spec=one)
        except (IndexError, ValueError, HeaderParseError):  # the first two escape from the parser
            raise ContractError(_WHERE, "a mail address cannot be read", allowed="name@host") from None
    return told


def _check_webhook(url: str) -> None:
    told = urllib.parse.urlsplit(url)
    if told.scheme != "https" and not (told.scheme == "http" and told.hostname in _HERE):
        raise ContractError(_WHERE, "a webhook must be an https address")


def _name(kind: str, address: str) -> str:
    return f"{kind} {hashlib.sha256(address.encode()).hexdigest()[:16]}"


def _reason(error: Exception) -> str:
    code = getattr(error, "smtp_code", None)
    return f"SMTP status {code}" if code else type(error).__name__
