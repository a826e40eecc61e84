"""Prepared training images in memory, and the batches that are drawn from them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from claimed_med.errors import InputError, ModelError
from claimed_med.models.recipe import Recipe
from claimed_med.models.shelf import Shelf
from claimed_med.workers import WorkerDied, map_tasks, n_cores

MOST_PLACES = 4096
MANY = 500  # images from which several processes read them
Reader = Callable[[], tuple[torch.Tensor, Any]]


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
    items: Sequence[tuple[str, Reader]],
    *,
    where: str,
    on_image: Callable[[], None],
    readers: int = 0,
    scratch: Path | None = None,
) -> Samples:
    """Read and prepare every image, before any training: what is wrong with the data is said at once.

    Images that do not fit into memory are kept in a file that the system maps into memory as far as there is room.

    Args:
        items: Key, and a function that reads and prepares one image with its truth.
        where: The component that speaks.
        on_image: Called after each image.
        readers: Processes that read; 0 for this one, or one a core for many images. What they read is the same.
        scratch: Where the file of images that do not fit lies, until this process ends; the system's place when None.

    Raises:
        InputError: Some images cannot be used; all are named by key.
        ModelError: The images fit neither into memory nor on the disk, or a process that reads died.
    """
    shelf = Shelf(len(items), where, scratch)
    faults: dict[int, str] = {}
    for index, found in _read(items, readers, where):
        if isinstance(found, str):
            faults[index] = f"{items[index][0]}: {found}"
        else:
            shelf.add(index, *found)
        on_image()
    if faults:
        told = "; ".join(faults[index] for index in sorted(faults)[:10])
        raise InputError(
            where,
            f"{len(faults)} of {len(items)} images cannot be used ({told})",
            do="leave them out with filter-cohort, or mend them",
        )
    made = Samples([key for key, _ in items], *shelf.held())
    shapes = {tuple(image.shape) for image in made.images}
    if made.targets and isinstance(made.targets[0], int) and len(shapes) > 1:
        raise InputError(where, "prepared images differ in shape", got=str(sorted(shapes)[:5]), do="add a step Resize")
    return made


def _read(items: Sequence[tuple[str, Reader]], readers: int, where: str) -> Iterator[tuple[int, Any]]:
    """Index with image and truth, or with what is wrong with it."""
    readers = readers or (n_cores() if len(items) >= MANY else 0)
    if not readers:
        yield from ((index, _one(read)) for index, (_, read) in enumerate(items))
        return
    # forked, not started anew: a forked process that computes with one thread does not meet its parent's thread pool
    tasks = [read for _, read in items]
    for index, found in map_tasks(_one, tasks, n_workers=readers, n_threads=1, fork=True):
        if isinstance(found, WorkerDied):
            raise ModelError(
                where,
                "a process that reads images died",
                got=f"{found.signal or 'an exit'} at image {items[index][0]}",
                do="give it more memory, set fewer readers in [compute], or leave this image out",
            )
        yield index, found


def _one(read: Reader) -> Any:
    try:
        return read()
    except InputError as error:
        return error.what


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
