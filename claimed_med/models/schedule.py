"""Optimizers by name, and learning rates as functions of the step alone."""

from __future__ import annotations

import math

from torch import nn, optim

from claimed_med.models.recipe import Training


def optimizer_of(network: nn.Module, options: Training) -> optim.Optimizer:
    """The optimizer of a recipe; biases and normalisation are not decayed."""
    decayed = [one for one in network.parameters() if one.requires_grad and one.ndim > 1]
    plain = [one for one in network.parameters() if one.requires_grad and one.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": options.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    if options.optimizer == "sgd":
        return optim.SGD(groups, lr=options.learning_rate, momentum=options.momentum)
    kind = optim.AdamW if options.optimizer == "adamw" else optim.Adam
    return kind(groups, lr=options.learning_rate)


def learning_rate(options: Training, step: int, n_steps: int) -> float:
    """The learning rate of a step.

    Args:
        options: Of the recipe.
        step: From 1.
        n_steps: Of the whole training.
    """
    top = options.learning_rate
    if options.schedule == "one_cycle":
        rise = max(1, round(0.3 * n_steps))
        if step <= rise:
            return top * (0.04 + 0.96 * _half_cosine(1 - step / rise))
        return top * max(1e-4, _half_cosine((step - rise) / max(1, n_steps - rise)))
    warmed = min(1.0, step / options.warmup_steps) if options.warmup_steps else 1.0
    if options.schedule == "constant":
        return top * warmed
    return top * warmed * (0.01 + 0.99 * _half_cosine((step - 1) / max(1, n_steps)))


def _half_cosine(part: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, part))))
