"""Run a network over images: probabilities, sliding windows, and the score that chooses the best epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from monai.inferers import sliding_window_inference
from scipy.stats import rankdata
from torch import nn

from claimed_med.models import networks
from claimed_med.models.device import numbers
from claimed_med.models.recipe import Recipe
from claimed_med.models.samples import Samples

METRICS = {"classification": "auc", "segmentation": "dice"}


@torch.no_grad()
def class_probabilities(
    network: nn.Module,
    images: torch.Tensor | Sequence[torch.Tensor],
    precision: str,
    where: torch.device,
    batch_size: int,
) -> npt.NDArray[np.float64]:
    """Softmax probabilities of whole images.

    Args:
        network: Put into evaluation mode here.
        images: Shape (n, channel, *spatial), float32 in [0, 1], or a list of n images.
        precision: Of the computation.
        where: Device of the network.
        batch_size: Images at once.

    Returns:
        Shape (n, class).
    """
    network.eval()
    kind = next(network.parameters()).dtype
    found = []
    for start in range(0, len(images), batch_size):
        part = images[start : start + batch_size]
        batch = part if isinstance(part, torch.Tensor) else torch.stack(list(part))
        with numbers(precision, where):
            output = networks.logits(network(batch.to(where, kind)))
        found.append(torch.softmax(output.double(), dim=1).cpu())
    return np.asarray(torch.cat(found).numpy())


@torch.no_grad()
def voxel_probabilities(
    network: nn.Module, image: torch.Tensor, recipe: Recipe, precision: str, where: torch.device, overlap: float
) -> torch.Tensor:
    """Softmax probabilities of every voxel, window by window; only windows are on the device, the volume is not.

    Args:
        network: Put into evaluation mode here.
        image: Shape (channel, *spatial), float32 in [0, 1].
        recipe: For the size of the window.
        precision: Of the computation.
        where: Device of the network.
        overlap: Of the windows, as a part of their size.

    Returns:
        Shape (class, *spatial), float32, on the processor.
    """
    network.eval()
    kind = next(network.parameters()).dtype

    def predict(windows: torch.Tensor) -> torch.Tensor:
        with numbers(precision, where):
            output = networks.logits(network(windows.to(kind)))
        return torch.softmax(output.float(), dim=1)

    made = sliding_window_inference(
        torch.as_tensor(image)[None],
        roi_size=recipe.training.patch_size,
        sw_batch_size=recipe.compute.window_batch,
        predictor=predict,
        overlap=overlap,
        mode="gaussian",
        sw_device=where,
        device="cpu",
    )
    return torch.as_tensor(made[0])


def score(network: nn.Module, held: Samples, recipe: Recipe, precision: str, where: torch.device) -> float:
    """The validation score: mean one-versus-rest AUC, or mean Dice of the foreground classes."""
    if recipe.task == "classification":
        found = class_probabilities(network, held.images, precision, where, recipe.training.batch_size)
        return mean_auc(found, held.targets)
    dices = []
    for image, labels in zip(held.images, held.targets, strict=True):
        made = voxel_probabilities(network, image, recipe, precision, where, recipe.compute.overlap)
        dices.append(_dice(made.argmax(0), labels, len(made)))
    return float(np.mean(dices))


def mean_auc(probabilities: npt.NDArray[np.float64], targets: Sequence[int]) -> float:
    """Mean over the classes of the area under the one-versus-rest ROC curve; 0.5 where a class is missing."""
    truth = np.asarray(targets)
    areas = []
    classes = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    for one in classes:
        positive = truth == one
        n_positive, n_negative = int(positive.sum()), int((~positive).sum())
        if n_positive == 0 or n_negative == 0:
            areas.append(0.5)
            continue
        ranks = rankdata(probabilities[:, one])
        area = (ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)
        areas.append(float(area))
    return float(np.mean(areas))


def _dice(found: torch.Tensor, truth: torch.Tensor, n_classes: int) -> float:
    values = []
    for one in range(1, n_classes):
        left, right = found == one, truth == one
        both = int(left.sum() + right.sum())
        values.append(2 * int((left & right).sum()) / both if both else 1.0)
    return float(np.mean(values))
