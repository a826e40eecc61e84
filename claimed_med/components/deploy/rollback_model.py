"""Go back to the model that was deployed before."""

from __future__ import annotations

from typing import NamedTuple

from claimed_med.component import component
from claimed_med.handles import Report


class RollbackModelOutputs(NamedTuple):
    """What rollback_model returns."""

    deployment: Report
    state: str


@component(
    version="1.0.0",
    image="serve",
    tags=("kserve", "kubernetes", "serving", "rollback"),
    example={"current": "deployment", "previous": "earlier_deployment", "apply": False},
)
def rollback_model(current: Report, previous: Report, *, apply: bool = True) -> RollbackModelOutputs:
    """Go back to the model that was deployed before.

    The earlier manifests are applied again, with all of the traffic; what the current ones added is taken away by the
    cluster, since both have one field manager. The server looks at the blessing of the earlier model once more.

    Args:
        current: From deploy-kserve: what is deployed now.
        previous: From deploy-kserve: what to go back to.
        apply: Whether to apply them where a cluster is configured.

    Returns:
        deployment: The manifests that hold now, and from which bundle to which.
        state: `applied` or `written`.

    Raises:
        InputError: One of them is no deployment, or they are of different services, or of one model.
        OutputError: The cluster refuses a manifest.
    """
    from claimed_med.models.deployment import rolled_back

    made = rolled_back("rollback-model", current.load(), previous.load(), apply=apply)
    return RollbackModelOutputs(Report(made.report, html=made.page, pictures=made.files), made.state)
