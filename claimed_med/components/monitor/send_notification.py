"""Tell people when a deployed model passes a limit."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from claimed_med.component import Address, Interval, component
from claimed_med.handles import Report


class SendNotificationOutputs(NamedTuple):
    """What send_notification returns."""

    receipt: Report
    n_alerts: int


@component(
    version="1.0.0",
    tags=("monitoring", "alert", "e-mail", "webhook", "prometheus"),
    example={"drift": "measure-drift:drift", "bias": "measure-bias-over-time:bias"},
)
def send_notification(
    drift: Report,
    bias: Report,
    *,
    limits: str = "deployed_classifier",
    mail_server: Annotated[str, Address()] = "",
    mail_from: Annotated[str, Address()] = "",
    mail_to: Annotated[str, Address()] = "",
    webhook: Annotated[str, Address()] = "",
    link: Annotated[str, Address()] = "",
    told: Annotated[str, Address()] = "",
    n_windows: Annotated[int, Interval(1, 1000)] = 50,
) -> SendNotificationOutputs:
    """Tell people when a deployed model passes a limit.

    Every whole window since the last message is judged, as far back as n_windows: also one that was over before the run,
    or whose truth came later. Each cause (a drifted column, a flagged group) is told once to every mail address and to
    the webhook, in one line with its windows; when it is gone and comes back, it is told again. A message that cannot be delivered fails the run after all others are told,
    and the next run tries only that one again. Credentials come from
    the environment (CLAIMED_MED_SMTP_USER, _PASSWORD, CLAIMED_MED_WEBHOOK_TOKEN; each also as _FILE).

    Args:
        drift: From measure-drift.
        bias: From measure-bias-over-time.
        limits: Name of a policy of the package (deployed_classifier), or the TOML text of one.
        mail_server: `smtps://host:port`, or `smtp://host:port` with STARTTLS; '' for no mail.
        mail_from: Address of the sender.
        mail_to: Addresses of the recipients, separated by commas.
        webhook: https address that takes a JSON message; '' for none.
        link: Address of the report, for the message.
        told: File in which is kept what was told; '' tells about the newest whole window, every time.
        n_windows: Newest whole windows that are looked at for what was not told yet.

    Returns:
        receipt: Every passed limit with its causes, which of them are new, and the limits as Prometheus alert rules
            (`alerts.rules.yaml`).
        n_alerts: Limits that the newest whole window passes, or that nobody was told of yet.

    Raises:
        ContractError: Limits or addresses cannot be read.
        InputError: The reports are about different models.
        OutputError: Mail server or webhook do not take the message.
    """
    from dataclasses import asdict
    from pathlib import Path

    from claimed_med.trust import alert, notification, policy
    from claimed_med.trust.told import Told

    chosen = policy.load(limits)
    people = [one.strip() for one in mail_to.split(",") if one.strip()]
    ways = notification.channels(mail_server, mail_from, people, webhook)
    reports = {"drift": drift.load(), "bias": bias.load()}
    alerts = alert.raised(chosen, reports, n_windows=n_windows if told else 1)
    model = str(reports["drift"].get("model_digest", ""))
    memory = Told(Path(told), model) if told else None
    news = notification.tell(ways, alerts, model, link, memory)
    receipt = {
        "kind": "notification",
        "model_digest": model,
        "policy_sha256": chosen.digest,
        "alerts": [asdict(one) for one in alerts],
        "new": [asdict(one) for one in news],
    }
    n_alerts = len({one.key for one in alerts if one.now} | {one.key for one in news})
    return SendNotificationOutputs(
        Report(receipt, pictures={"alerts.rules.yaml": alert.rules(chosen).encode()}), n_alerts
    )
