"""Where prepared images are kept: in memory, or in one file that is mapped into memory when they are too many."""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from claimed_med.errors import ModelError
from claimed_med.models.device import free_memory

_MOST_OF_MEMORY = 0.7
_ALIGNED = 64


class Shelf:
    """Takes images with their truth one by one, in any order.

    The first image tells how much all of them need. What does not fit into most of the free memory goes to a file that
    has no name any more once it is open: it is gone with this process, however that ends. The system then keeps as
    much of it in memory as there is room for.

    Args:
        n: How many there will be.
        where: The component that speaks.
        folder: Where the file lies; the system's place for temporary files when None.
    """

    def __init__(self, n: int, where: str, folder: Path | None = None) -> None:
        self._n, self._where, self._folder = n, where, folder
        self._kept: dict[int, tuple[Any, Any]] = {}
        self._file: Any = None

    def add(self, index: int, image: torch.Tensor, target: Any) -> None:
        """Keep one image.

        Args:
            index: Its place in the order.
            image: Shape (channel, *spatial), float32.
            target: A class, or a label map of shape (*spatial).

        Raises:
            ModelError: All of them fit neither into memory nor on the disk.
        """
        if not self._kept:
            self._decide(_size(image) + _size(target))
        self._kept[index] = (self._put(image), self._put(target))

    def held(self) -> tuple[list[torch.Tensor], list[Any]]:
        """Images and targets, in their order."""
        ordered = [self._kept[index] for index in sorted(self._kept)]
        if self._file is None:
            return [image for image, _ in ordered], [target for _, target in ordered]
        self._file.flush()
        # copy on write: the file stays as it is, and torch may have it
        mapped = np.memmap(self._file, dtype=np.uint8, mode="c")
        self._file.close()  # the mapping holds it
        return [_got(mapped, image) for image, _ in ordered], [_got(mapped, target) for _, target in ordered]

    def _decide(self, each: int) -> None:
        needed, free = each * self._n, free_memory()
        if not free or needed <= _MOST_OF_MEMORY * free:
            return
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
        place = self._folder or Path(tempfile.gettempdir())
        room = shutil.disk_usage(place).free
        if needed > room:
            raise ModelError(
                self._where,
                "the prepared images fit neither into memory nor on the disk",
                got=f"{needed / 2**30:.1f} GiB for {self._n} images",
                allowed=f"{_MOST_OF_MEMORY * free / 2**30:.1f} GiB of memory, {room / 2**30:.1f} GiB of disk",
                do="prepare smaller images, or set CLAIMED_MED_SCRATCH to a larger disk",
            )
        told = f"{self._where}: {needed / 2**30:.1f} GiB of images do not fit into memory and are kept in a file"
        sys.stderr.write(f"{told}\n")
        self._file = tempfile.TemporaryFile(dir=place)  # noqa: SIM115 - lives as long as the images

    def _put(self, one: Any) -> Any:
        if self._file is None or not isinstance(one, torch.Tensor):
            return one
        array = np.ascontiguousarray(one.numpy())
        start = self._file.tell()
        self._file.write(array.tobytes() + bytes(-array.nbytes % _ALIGNED))
        return _Place(start, array.nbytes, array.dtype, array.shape)


@dataclass(frozen=True)
class _Place:
    start: int
    n_bytes: int
    kind: np.dtype[Any]
    shape: tuple[int, ...]


def _got(mapped: npt.NDArray[np.uint8], one: Any) -> Any:
    if not isinstance(one, _Place):
        return one
    return torch.from_numpy(mapped[one.start : one.start + one.n_bytes].view(one.kind).reshape(one.shape))


def _size(one: Any) -> int:
    return one.numel() * one.element_size() if isinstance(one, torch.Tensor) else 8
