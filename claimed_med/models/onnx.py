"""ONNX models: run them with ONNX Runtime, and make them of torch bundles with outputs compared."""

from __future__ import annotations

import io
import logging
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from claimed_med.errors import ModelError

if TYPE_CHECKING:
    from claimed_med.models.bundle import Bundle

TOLERANCE = 1e-4


def session(model: bytes) -> Any:
    """An inference session with one thread a run, so that the same input gives the same bits.

    Raises:
        ModelError: The bytes are no ONNX model that ONNX Runtime can run.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    available = onnxruntime.get_available_providers()
    wanted = [one for one in ("CUDAExecutionProvider", "CPUExecutionProvider") if one in available]
    try:
        return onnxruntime.InferenceSession(model, options, providers=wanted)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime has no common class for its errors
        raise ModelError("onnx", "the model cannot be run", got=type(error).__name__, do="export it again") from None


def probabilities(held: Any, images: npt.NDArray[np.float32], batch_size: int) -> npt.NDArray[np.float64]:
    """Class probabilities of prepared images.

    What the model gives is taken as probabilities when all rows lie in [0, 1] and sum to one, else as logits.

    Args:
        held: From `session`.
        images: Shape (n, channel, *spatial), float32.
        batch_size: Images at once.

    Returns:
        Shape (n, class).

    Raises:
        ModelError: The model takes another shape, or gives something else than one row an image.
    """
    wanted = held.get_inputs()[0]
    found = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        if len(wanted.shape) == 2:  # models of scikit-learn take rows of numbers
            batch = batch.reshape(len(batch), -1)
        try:
            outputs = held.run(None, {wanted.name: batch})
        except Exception as error:  # noqa: BLE001 - ONNX Runtime has no common class for its errors
            raise ModelError(
                "onnx",
                "the model does not take this input",
                got=f"{batch.shape}, {type(error).__name__}",
                allowed=str(wanted.shape),
            ) from None
        rows = next((np.asarray(one) for one in reversed(outputs) if getattr(one, "ndim", 0) == 2), None)
        if rows is None or len(rows) != len(batch):
            raise ModelError("onnx", "the model gives no row of class scores an image")
        found.append(rows.astype(np.float64))
    scores = np.concatenate(found)
    whole = np.allclose(scores.sum(axis=1), 1.0, atol=1e-4) and bool((scores >= -1e-6).all())
    if whole:
        return scores
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def exported(bundle: Bundle, images: npt.NDArray[np.float32]) -> tuple[Bundle, float]:
    """The same model as an ONNX bundle.

    Args:
        bundle: A torch bundle.
        images: Prepared images on which both are compared, shape (n, channel, *spatial).

    Returns:
        The ONNX bundle, and the largest difference of a probability.

    Raises:
        ModelError: The outputs differ by more than 1e-4.
    """
    import torch

    network = bundle.network()
    example = torch.from_numpy(np.ascontiguousarray(images[:2]))
    held = io.BytesIO()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (example,), held, input_names=["image"], output_names=["logits"], dynamo=False,
            dynamic_axes={"image": {0: "n"}, "logits": {0: "n"}}, opset_version=17,
        )  # fmt: skip
    made = replace(bundle, onnx=held.getvalue(), weights={}, network_definition={})
    difference = float(np.abs(made.probabilities(images) - bundle.probabilities(images)).max())
    if not difference <= TOLERANCE:
        raise ModelError("onnx", "the exported model gives other outputs", got=difference, allowed=f"{TOLERANCE:g}")
    return made, difference
