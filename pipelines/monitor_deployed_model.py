"""A deployed model's record in; drift, bias and quality over time out; people are told when a limit is passed.

Run it on a schedule (a Kubeflow recurring run, cron): each run judges the whole windows again, and tells only news.
"""

from collections.abc import Callable
from pathlib import Path

from kfp import components, dsl

HOME = Path(__file__).parent.parent / "components"


def component(category: str, name: str) -> Callable[..., dsl.PipelineTask]:
    """A component by its generated contract."""
    return components.load_component_from_file(str(HOME / category / name / "component.yaml"))


load_table = component("input", "load-table")
load_predictions = component("input", "load-predictions")
measure_drift = component("monitor", "measure-drift")
measure_bias_over_time = component("monitor", "measure-bias-over-time")
send_notification = component("monitor", "send-notification")


@dsl.pipeline(
    description="The record of a deployed model in; drift and bias by window out; a message when a limit is passed."
)
def monitor_deployed_model(
    reference: str,
    record: str,
    model_digest: str = "",
    window: str = "200",
    attributes: str = '["sex", "age_band"]',
    limits: str = "deployed_classifier",
    mail_server: str = "",
    mail_from: str = "",
    mail_to: str = "",
    webhook: str = "",
    link: str = "",
    told: str = "",
) -> None:
    """Watch a deployed classifier.

    Args:
        reference: Table of the predictions that the model was validated on: Parquet or CSV with the record's columns.
        record: The record that the server keeps: path of an SQLite file, or postgresql://host/database.
        model_digest: Of the model; the one that answered last when empty.
        window: A number of cases, or hours, days or weeks (7d).
        attributes: Who belongs to which group: a JSON list of columns.
        limits: Name of a policy, or its TOML text.
        mail_server: smtps://host:port or smtp://host:port; no mail when empty.
        mail_from: Sender.
        mail_to: Recipients, separated by commas.
        webhook: https address that is posted to; none when empty.
        link: Address of the page, for the message.
        told: File in which is kept what people were told.
    """
    before = load_table(path=reference).set_caching_options(False)
    now = load_predictions(url=record, model_digest=model_digest).set_caching_options(False)
    both = {"reference": before.outputs["table"], "predictions": now.outputs["predictions"]}
    drift = measure_drift(**both, window=window)
    bias = measure_bias_over_time(**both, window=window, attributes=attributes)
    send_notification(
        drift=drift.outputs["drift"], bias=bias.outputs["bias"], limits=limits, mail_server=mail_server,
        mail_from=mail_from, mail_to=mail_to, webhook=webhook, link=link, told=told,
    ).set_caching_options(False)  # fmt: skip
