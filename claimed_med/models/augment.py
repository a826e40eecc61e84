"""Random changes of a batch, on the device. What happens to an image depends on seed, epoch and image alone.

So neither the number of processes, nor the order of work, nor a restart changes anything. Geometry is one resampling
of the whole batch; MONAI's random transforms work image by image on the processor, which costs as much as a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from claimed_med.models.recipe import Augment


@dataclass(frozen=True)
class Drawn:
    """What was drawn for every image of a batch.

    Attributes:
        affine: Shape (n, dims, dims + 1): normalised output -> input coordinates, last axis first.
        gain: Shape (n,): contrast.
        offset: Shape (n,): brightness.
        noise: Shape (n,): standard deviation.
        seeds: Of the noise of each image.
        moves: Whether any image is moved.
    """

    affine: torch.Tensor
    gain: torch.Tensor
    offset: torch.Tensor
    noise: torch.Tensor
    seeds: Sequence[int]
    moves: bool


def draw(augment: Augment, keys: Sequence[tuple[int, ...]], dims: int) -> Drawn:
    """Draw the changes of a batch.

    Args:
        augment: Of the recipe.
        keys: One an image: (seed, epoch, number of the image, ...).
        dims: Spatial axes.
    """
    affines, values = [], []
    for key in keys:
        generator = np.random.default_rng(key)
        affines.append(_affine(augment, generator, dims))
        low, high = -augment.intensity, augment.intensity
        strength = generator.uniform(0, augment.noise)
        seed = int(generator.integers(1 << 31))
        values.append((1 + generator.uniform(low, high), generator.uniform(low, high) / 2, strength, seed))
    gain, offset, noise, seeds = zip(*values, strict=True)
    stacked = np.stack(affines)
    moves = bool((stacked != np.eye(dims, dims + 1)).any())
    return Drawn(torch.from_numpy(stacked), torch.tensor(gain), torch.tensor(offset), torch.tensor(noise), seeds, moves)


def apply(images: torch.Tensor, drawn: Drawn, labels: torch.Tensor | None = None) -> Any:
    """Change a batch.

    Args:
        images: Shape (n, channel, *spatial), in [0, 1].
        drawn: From `draw`.
        labels: Shape (n, *spatial), integers, moved with the images.

    Returns:
        Images, and labels when there are any.
    """
    where, kind = images.device, images.dtype
    if drawn.moves:
        grid = functional.affine_grid(drawn.affine.to(where, kind), list(images.shape), align_corners=False)
        images = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
        if labels is not None:
            planes = functional.grid_sample(labels[:, None].to(kind), grid, mode="nearest", align_corners=False)
            labels = planes[:, 0].round().to(labels.dtype)
    shape = (-1,) + (1,) * (images.ndim - 1)
    gain, offset, noise = (one.to(where, kind).reshape(shape) for one in (drawn.gain, drawn.offset, drawn.noise))
    images = (images - 0.5) * gain + 0.5 + offset
    if float(drawn.noise.max()) > 0:
        images = images + noise * _noise(images, drawn.seeds)
    images = images.clamp_(0.0, 1.0)
    return images if labels is None else (images, labels)


def _noise(images: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
    made = []
    for image, seed in zip(images, seeds, strict=True):
        generator = torch.Generator(device=images.device).manual_seed(seed)
        made.append(torch.randn(image.shape, generator=generator, device=images.device, dtype=images.dtype))
    return torch.stack(made)


def _affine(augment: Augment, generator: np.random.Generator, dims: int) -> np.ndarray:
    """Flip, rotate in the plane of the last two axes, scale and shift; coordinates run last axis first."""
    matrix = np.eye(dims)
    for axis in augment.flip_axes:
        if generator.random() < 0.5:
            matrix[dims - 1 - axis, dims - 1 - axis] *= -1
    angle = np.deg2rad(generator.uniform(-augment.rotate_degrees, augment.rotate_degrees))
    turn = np.eye(dims)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    scale = 1 / (1 + generator.uniform(-augment.scale, augment.scale))
    shift = 2 * generator.uniform(-augment.shift, augment.shift, size=dims)
    return np.concatenate([matrix @ turn * scale, shift[:, None]], axis=1)
