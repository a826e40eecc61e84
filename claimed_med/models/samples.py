"""Prepared training images in memory, and the batches that are drawn from them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from claimed_med.errors import InputError, ModelError
from claimed_med.models.device import free_memory
from claimed_med.models.recipe import Recipe

_MOST_OF_MEMORY = 0.7
MOST_PLACES = 4096


@dataclass
class Samples:
    """Images with their truth, in an order that decides the result.

    Attributes:
        keys: One an image; sorted by the caller.
        images: Each of shape (channel, *spatial), float32 in [0, 1]; one shape for classification.
        targets: The class of each image, or its label map of shape (*spatial), uint8.
    """

    keys: list[str]
    images: list[torch.Tensor]
    targets: list[Any]

    def __len__(self) -> int:
        return len(self.keys)

    def digest(self) -> str:
        """The sha256 of keys, images and targets."""
        told = hashlib.sha256()
        for key, image, target in zip(self.keys, self.images, self.targets, strict=True):
            told.update(key.encode())
            told.update(np.ascontiguousarray(image.numpy()).tobytes())
            told.update(np.asarray(target).tobytes())
        return told.hexdigest()


def collect(
    items: Sequence[tuple[str, Callable[[], tuple[torch.Tensor, Any]]]], *, where: str, on_image: Callable[[], None]
) -> Samples:
    """Read and prepare every image, before any training: what is wrong with the data is said at once.

    Args:
        items: Key, and a function that reads and prepares one image with its truth.
        where: The component that speaks.
        on_image: Called after each image.

    Raises:
        InputError: Some images cannot be used; all are named by key.
        ModelError: The images do not fit into memory.
    """
    made, faults = Samples([], [], []), []
    for key, read in items:
        try:
            image, target = read()
        except InputError as error:
            faults.append(f"{key}: {error.what}")
        else:
            made.keys.append(key)
            made.images.append(image)
            made.targets.append(target)
            if len(made) == 1:
                _check_memory(image, target, len(items), where)
        on_image()
    if faults:
        raise InputError(
            where,
            f"{len(faults)} of {len(items)} images cannot be used ({'; '.join(faults[:10])})",
            do="leave them out with filter-cohort, or mend them",
        )
    shapes = {tuple(image.shape) for image in made.images}
    if made.targets and isinstance(made.targets[0], int) and len(shapes) > 1:
        raise InputError(where, "prepared images differ in shape", got=str(sorted(shapes)[:5]), do="add a step Resize")
    return made


def _check_memory(image: torch.Tensor, target: Any, n: int, where: str) -> None:
    needed = n * (image.numel() * image.element_size() + (target.numel() if isinstance(target, torch.Tensor) else 8))
    free = free_memory()
    if free and needed > _MOST_OF_MEMORY * free:
        raise ModelError(
            where,
            "the prepared images do not fit into memory",
            got=f"{needed / 2**30:.1f} GiB for {n} images",
            allowed=f"{_MOST_OF_MEMORY * free / 2**30:.1f} GiB",
            do="prepare smaller images, or use a machine with more memory",
        )


def order(n: int, seed: int, epoch: int, repeats: int = 1) -> list[int]:
    """The order of the images in an epoch; the same for any number of processes."""
    generator = np.random.default_rng((seed, epoch, 0xC0FFEE))
    return [int(one) for _ in range(repeats) for one in generator.permutation(n)]


def batches(indices: Sequence[int], size: int) -> Iterator[list[int]]:
    """Cut an order into batches; a last batch of one image is left out, batch statistics of one say nothing."""
    for start in range(0, len(indices), size):
        found = list(indices[start : start + size])
        if len(found) > 1 or len(indices) == 1:
            yield found


def n_batches(n: int, size: int) -> int:
    """How many batches `batches` yields."""
    full, rest = divmod(n, size)
    return full + (rest > 1) + (n == 1)


def foreground(labels: torch.Tensor) -> torch.Tensor:
    """Places of the foreground of a label map, at most a few thousand, evenly taken; shape (n, axes)."""
    found = torch.nonzero(labels)
    return found[:: max(1, len(found) // MOST_PLACES)].clone()


def patch(
    image: torch.Tensor, labels: torch.Tensor, recipe: Recipe, key: tuple[int, ...], places: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut one patch out of a volume, half of the time around a voxel of the foreground.

    Args:
        image: Shape (channel, *spatial).
        labels: Shape (*spatial).
        recipe: For the size of the patch.
        key: Decides the place.
        places: From `foreground`.

    Returns:
        Image and labels of exactly the size of the patch; what lies outside is the border's value, and background.
    """
    size = recipe.training.patch_size
    generator = np.random.default_rng(key)
    centre = [int(generator.integers(0, length)) for length in labels.shape]
    if generator.random() < 0.5 and len(places):
        centre = places[int(generator.integers(0, len(places)))].tolist()
    starts = [
        int(np.clip(middle - length // 2, 0, max(0, whole - length)))
        for middle, length, whole in zip(centre, size, labels.shape, strict=True)
    ]
    cut = tuple(slice(start, start + length) for start, length in zip(starts, size, strict=True))
    found, truth = image[(slice(None), *cut)], labels[cut]
    missing = [length - have for length, have in zip(size, truth.shape, strict=True)]
    if any(missing):
        pads = [one for length in reversed(missing) for one in (0, length)]
        mode = {2: "replicate", 3: "replicate"}[recipe.dims]
        found = torch.nn.functional.pad(found[None], pads, mode=mode)[0]
        truth = torch.nn.functional.pad(truth, pads)
    return found, truth
