"""Export a blessed torch model as an ONNX bundle."""

from __future__ import annotations

from typing import NamedTuple

from claimed_med.component import component
from claimed_med.handles import Decision, ModelBundle, Report


class ExportOnnxOutputs(NamedTuple):
    """What export_onnx returns."""

    exported: ModelBundle
    comparison: Report


@component(
    version="1.0.0",
    image="torch",
    tags=("onnx", "export"),
    example={"bundle": "train-classifier:bundle", "decision": "blessed_decision"},
)
def export_onnx(bundle: ModelBundle, decision: Decision) -> ExportOnnxOutputs:
    """Export a blessed torch model as an ONNX bundle.

    The exported model is run with ONNX Runtime on seeded images and must give the same probabilities (within 1e-4).
    Runs only when the decision blesses this very bundle.

    Args:
        bundle: A torch classification model.
        decision: From bless-model.

    Returns:
        exported: The same bundle with an ONNX model; it has a digest of its own and needs a blessing of its own.
        comparison: The largest difference of a probability, and on how many images.

    Raises:
        RefusedError: The decision is a refusal, or blesses another payload.
        InputError: The bundle holds no torch classification model.
        ModelError: The outputs differ.
    """
    import numpy as np

    from claimed_med.errors import InputError
    from claimed_med.models import onnx
    from claimed_med.models.prepare import size_of

    model = bundle.load()
    if model.onnx or model.task != "classification":
        raise InputError("export-onnx", "the bundle holds no torch classification model", got=model.task)
    shape = (8, model.n_channels, *size_of(model.recipe))
    images = np.random.default_rng(0).random(shape, dtype=np.float32)
    exported, difference = onnx.exported(model, images)
    report = {
        "kind": "export",
        "metrics": [],
        "model_digest": model.digest,
        "exported_digest": exported.digest,
        "n_images": len(images),
        "largest_difference": difference,
        "tolerance": onnx.TOLERANCE,
    }
    return ExportOnnxOutputs(ModelBundle(exported), Report(report))
