"""Adversarial examples: gradient attacks in plain torch (2D and 3D, any device), and ART's, which know many more.

Every attack stays within `epsilon` of the image in each pixel, and within [0, 1], the network's real input window.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from claimed_med.errors import ContractError
from claimed_med.models.device import numbers, precision_for
from claimed_med.models.networks import logits
from claimed_med.trust.ablation import Probabilities

Floats = npt.NDArray[np.float32]
EPSILONS = (1 / 255, 2 / 255, 4 / 255, 8 / 255)
WHITE_BOX, BLACK_BOX = ("fgsm", "pgd"), ("square",)
ATTACKS = (*WHITE_BOX, *BLACK_BOX)
PGD_STEPS, SQUARE_QUERIES = 10, 50
BATCH = 16


def attack(
    name: str,
    images: Floats,
    targets: npt.NDArray[np.int64],
    epsilon: float,
    *,
    network: nn.Module | None,
    probabilities: Probabilities,
    n_classes: int,
    seed: int,
) -> Floats:
    """Attack a batch so that the class is not called any more.

    Args:
        name: One of `ATTACKS`.
        images: Shape (n, channel, *spatial), float32 in [0, 1].
        targets: The true class of each.
        epsilon: Largest change of a pixel.
        network: For gradients and ART; None for an ONNX model, which only the black-box attack can take.
        probabilities: (n, channel, *spatial) -> (n, class).
        n_classes: Number of classes.
        seed: Of what is random.

    Returns:
        Of the same shape, within epsilon of the images and within [0, 1].

    Raises:
        ContractError: An unknown attack, or one that needs gradients of an ONNX model.
    """
    if name not in ATTACKS:
        raise ContractError("robustness", "unknown attack", got=repr(name), allowed=", ".join(ATTACKS))
    if name in WHITE_BOX:
        if network is None:
            raise ContractError("robustness", f"{name} needs gradients, and an ONNX model has none", allowed="square")
        steps = 1 if name == "fgsm" else PGD_STEPS
        return _gradient_attack(network, images, targets, epsilon, steps)
    return _square(images, targets, epsilon, network, probabilities, n_classes, seed)


def _gradient_attack(
    network: nn.Module, images: Floats, targets: npt.NDArray[np.int64], epsilon: float, steps: int
) -> Floats:
    """Work in batches of 16, which memory and caches like; see `_stepped`."""
    parts = [
        _stepped(network, images[start : start + BATCH], targets[start : start + BATCH], epsilon, steps)
        for start in range(0, len(images), BATCH)
    ]
    return np.concatenate(parts)


def _stepped(network: nn.Module, images: Floats, targets: npt.NDArray[np.int64], epsilon: float, steps: int) -> Floats:
    """Projected gradient descent from the image itself; one step of full size is the fast gradient sign method.

    Source:
        Goodfellow et al. 2014, doi:10.48550/arXiv.1412.6572; Madry et al. 2017, doi:10.48550/arXiv.1706.06083.
    """
    where = next(network.parameters()).device
    precision = precision_for("auto", where)  # only the sign of the gradient counts
    start = torch.from_numpy(np.ascontiguousarray(images)).to(where)
    truth = torch.from_numpy(np.asarray(targets)).to(where)
    size = epsilon if steps == 1 else 2.5 * epsilon / steps
    moved = start.clone()
    for _ in range(steps):
        moved.requires_grad_(True)
        with numbers(precision, where):
            output = logits(network(moved))
        loss = functional.cross_entropy(output.float(), truth, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, moved)
        with torch.no_grad():
            moved = moved + size * gradient.sign()
            moved = (start + (moved - start).clamp(-epsilon, epsilon)).clamp(0, 1)
    return np.asarray(moved.detach().cpu().numpy(), dtype=np.float32)


def _square(
    images: Floats,
    targets: npt.NDArray[np.int64],
    epsilon: float,
    network: nn.Module | None,
    probabilities: Probabilities,
    n_classes: int,
    seed: int,
) -> Floats:
    """ART's Square attack, which only asks for probabilities.

    Source:
        Andriushchenko et al. 2020, doi:10.1007/978-3-030-58592-1_29.
    """
    if images.ndim != 4:
        raise ContractError("robustness", "the Square attack is for 2D images", got=f"{images.ndim - 2}D")
    with _quiet_art(seed):
        from art.attacks.evasion import SquareAttack

        classifier = _art_classifier(network, probabilities, images.shape[1:], n_classes)
        made = SquareAttack(
            classifier, norm=np.inf, eps=epsilon, max_iter=SQUARE_QUERIES, batch_size=64, verbose=False
        ).generate(images.astype(np.float32), y=np.asarray(targets))
    return np.asarray(np.clip(made, 0, 1), dtype=np.float32)


def art_attack(
    name: str, network: nn.Module, images: Floats, targets: npt.NDArray[np.int64], epsilon: float, n_classes: int
) -> Floats:
    """The same white-box attack as ART does it; slower, kept as the reference that ours is held against.

    Args:
        name: `fgsm` or `pgd`.
        network: Attacked.
        images: Shape (n, channel, row, column).
        targets: The true class of each.
        epsilon: Largest change of a pixel.
        n_classes: Number of classes.
    """
    with _quiet_art(0):
        from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescentPyTorch

        classifier = _art_classifier(network, None, images.shape[1:], n_classes)
        if name == "fgsm":
            chosen = FastGradientMethod(classifier, eps=epsilon)
        else:
            step = 2.5 * epsilon / PGD_STEPS
            chosen = ProjectedGradientDescentPyTorch(
                classifier, eps=epsilon, eps_step=step, max_iter=PGD_STEPS, verbose=False
            )
        made = chosen.generate(images.astype(np.float32), y=np.asarray(targets))
    return np.asarray(made, dtype=np.float32)


def _art_classifier(
    network: nn.Module | None, probabilities: Probabilities | None, shape: tuple[int, ...], n_classes: int
) -> Any:
    from art.estimators.classification import BlackBoxClassifierNeuralNetwork, PyTorchClassifier

    if network is None:
        return BlackBoxClassifierNeuralNetwork(
            probabilities, input_shape=shape, nb_classes=n_classes, clip_values=(0.0, 1.0), channels_first=True
        )
    return PyTorchClassifier(
        model=_Plain(network),
        loss=nn.CrossEntropyLoss(),
        input_shape=shape,
        nb_classes=n_classes,
        clip_values=(0.0, 1.0),
        device_type="gpu" if next(network.parameters()).is_cuda else "cpu",
    )


class _Plain(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = logits(self.network(image))
        return found


@contextlib.contextmanager
def _quiet_art(seed: int) -> Iterator[None]:
    """ART draws from NumPy's global generator and talks while it is imported: both only within the block."""
    state = np.random.get_state()  # noqa: NPY002 - ART has no generator of its own
    logger = logging.getLogger("art")
    level = logger.level
    logger.setLevel(logging.ERROR)
    np.random.seed(seed)  # noqa: NPY002 - ART has no generator of its own
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        np.random.set_state(state)  # noqa: NPY002 - ART has no generator of its own
        logger.setLevel(level)
