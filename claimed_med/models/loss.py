"""Losses whose sum over the processes of a run is the loss of the whole batch."""

from __future__ import annotations

import torch
from monai.losses import DiceCELoss
from torch.nn import functional

from claimed_med.models.recipe import Recipe
from claimed_med.models.samples import Samples


class Loss:
    """The loss of a recipe.

    Args:
        recipe: Which loss.
        training: For the frequencies of the classes.
        n_classes: Number of classes.
        where: Device.
    """

    def __init__(self, recipe: Recipe, training: Samples, n_classes: int, where: torch.device) -> None:
        self.task, self.options = recipe.task, recipe.training
        self.targets = training.targets
        self.weights = torch.ones(n_classes, dtype=torch.float64)
        if recipe.task == "classification" and self.options.class_weights == "balanced":
            counts = torch.bincount(torch.tensor(training.targets), minlength=n_classes).double()
            self.weights = counts.sum() / (n_classes * counts.clamp(min=1))
        self._on_device = self.weights.to(where)
        self._dice = DiceCELoss(to_onehot_y=True, softmax=True, include_background=n_classes == 1, reduction="mean")

    def __call__(self, logits: torch.Tensor, targets: torch.Tensor, batch: list[int]) -> torch.Tensor:
        """The part of this process in the loss of the whole batch.

        Args:
            logits: Shape (n, class, *spatial), of this process.
            targets: Shape (n, *spatial), of this process.
            batch: Numbers of all images of the batch, over all processes.
        """
        logits = logits.float() if logits.dtype != torch.float64 else logits
        if len(targets) == 0:
            return logits.sum() * 0.0
        if self.task == "segmentation":
            part: torch.Tensor = self._dice(logits, targets[:, None]) * (len(targets) / len(batch))
            return part
        whole = sum(float(self.weights[self.targets[one]]) for one in batch)
        summed = functional.cross_entropy(
            logits,
            targets,
            weight=self._on_device.to(logits.dtype),
            label_smoothing=self.options.label_smoothing,
            reduction="sum",
        )
        return summed / whole
