"""Bring a model and the decision on it into a pipeline."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from claimed_med.component import Location, component
from claimed_med.handles import Decision, ModelBundle


class LoadModelOutputs(NamedTuple):
    """What load_model returns."""

    bundle: ModelBundle
    decision: Decision


@component(
    version="1.0.0",
    image="torch",
    tags=("model", "bundle", "blessing"),
    example={"path": "bundle", "decision_path": "bundle_decision"},
)
def load_model(
    *, path: Annotated[str, Location()] = "", decision_path: Annotated[str, Location()] = ""
) -> LoadModelOutputs:
    """Bring a model and the decision on it into a pipeline.

    Both are taken over byte for byte. Whether the decision blesses this model is looked at by who uses it.

    Args:
        path: Folder of a model bundle.
        decision_path: Folder or file of a decision, from bless-model.

    Returns:
        bundle: The model.
        decision: The decision.

    Raises:
        InputError: There is no bundle or no decision.
        ModelError: The weights cannot be read.
    """
    from claimed_med.errors import InputError

    if not path or not decision_path:
        raise InputError("load-model", "path and decision_path are both needed", do="name the two folders")
    bundle, decision = ModelBundle(path), Decision(decision_path)
    bundle.load()
    decision.load()
    return LoadModelOutputs(bundle, decision)
