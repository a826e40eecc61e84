"""Package a blessed model as a folder that can be served."""

from __future__ import annotations

from claimed_med.component import component
from claimed_med.handles import Decision, ModelBundle, Servable


@component(
    version="1.0.0",
    image="torch",
    tags=("serving", "packaging", "blessing"),
    example={"bundle": "train-classifier:bundle", "decision": "blessed_decision"},
)
def package_model(bundle: ModelBundle, decision: Decision, *, override: str = "") -> Servable:
    """Package a blessed model as a folder that can be served.

    The bundle byte for byte, the decision on it, a description, and a Containerfile for an image of the folder.
    `claimed-med serve` takes the folder as it is, and looks at the decision again.

    Args:
        bundle: The model.
        decision: From bless-model, on exactly this bundle.
        override: Why to package it without a blessing, in one line; recorded in the lineage. Empty for not at all.

    Returns:
        servable: To be served, or copied to the storage that deploy-kserve names.

    Raises:
        RefusedError: The decision is a refusal, or blesses another payload.
        InputError: There is no bundle.
    """
    from claimed_med.component import digest_of_input
    from claimed_med.models import servable

    model = bundle.load()
    name = {"classification": "classify-images", "segmentation": "segment-volumes"}[model.task]
    about = {
        "bundle_digest": digest_of_input("bundle") or model.digest,
        "task": model.task,
        "classes": model.classes,
        "component": name,
        "verdict": decision.load().get("verdict"),
        "override": override,
    }
    return Servable(servable.files(bundle.payload(), decision.payload(), about))
