"""Import an ONNX model of any library as a bundle."""

from __future__ import annotations

from typing import Annotated

from claimed_med.component import Interval, Location, component
from claimed_med.handles import ModelBundle


@component(version="1.0.0", image="torch", tags=("onnx", "ingest"), example={"path": "onnx_model", "classes": ["a", "b"]})
def import_onnx(
    *,
    path: Annotated[str, Location()] = "",
    classes: list[str] = [],  # noqa: B006 - never changed
    positive: str = "",
    threshold: Annotated[float, Interval(0.0, 1.0)] = 0.5,
    recipe: str = "xray_small",
    intended_use: str = "",
) -> ModelBundle:
    """Import an ONNX model of any library as a bundle.

    Models of TensorFlow, scikit-learn and others run through the same prediction, metric, gate and serving components
    once they are in a bundle. The model takes images (n, channel, ...) or flat rows (n, pixels), float32 in [0, 1] as
    the recipe prepares them, and gives one score (logit or probability) a class.

    Args:
        path: The ONNX file, or a folder with one.
        classes: Names of the classes, in the order of the model's outputs.
        positive: The class whose probability is the score; the last one when empty.
        threshold: Score from which an image is called positive.
        recipe: Name of a recipe, or its TOML text; only its preparation is used.
        intended_use: A sentence for the model card.

    Returns:
        bundle: The model, run once to see that it fits.

    Raises:
        InputError: No model, or fewer than two classes.
        ModelError: The model cannot be run, or does not give one score a class.
    """
    from pathlib import Path

    import numpy as np

    from claimed_med.errors import InputError, ModelError
    from claimed_med.models import recipe as recipes
    from claimed_med.models.bundle import Bundle
    from claimed_med.models.prepare import size_of

    place = Path(path) if path else None
    files = sorted(place.glob("*.onnx")) if place is not None and place.is_dir() else []
    files = [place] if place is not None and place.is_file() else files
    if len(files) != 1:
        raise InputError("import-onnx", "needs exactly one ONNX file", got=len(files), do="set --path")
    score_class = positive or (classes[-1] if classes else "")
    if len(classes) < 2 or score_class not in classes:
        raise InputError("import-onnx", "needs two or more classes, the positive one among them", got=", ".join(classes))
    chosen = recipes.load(recipe)
    made = Bundle(
        classes, score_class, threshold, chosen, onnx=files[0].read_bytes(), intended_use=intended_use,
        data={"counts": "unknown: trained elsewhere"}, training={"origin": "imported"},
    )  # fmt: skip
    found = made.probabilities(np.zeros((2, 1, *size_of(chosen)), dtype=np.float32))
    if found.shape[1] != len(classes):
        raise ModelError("import-onnx", "the model gives another number of classes", got=found.shape[1], allowed=str(len(classes)))
    return ModelBundle(made)
