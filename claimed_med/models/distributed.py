"""Several processes that train one network: what torchrun sets in the environment, and how we start it ourselves."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import distributed, nn


@dataclass(frozen=True)
class World:
    """The processes of a run.

    Attributes:
        rank: Number of this process.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    def share(self, items: list[int]) -> list[int]:
        """The part of a batch that is this process's."""
        cuts = [round(len(items) * number / self.size) for number in range(self.size + 1)]
        return items[cuts[self.rank] : cuts[self.rank + 1]]

    def same(self, value: float) -> float:
        """The first process's value, on all of them."""
        if self.size == 1:
            return value
        held = torch.tensor([value], dtype=torch.float64)
        held = held.cuda() if distributed.get_backend() == "nccl" else held
        distributed.broadcast(held, 0)
        return float(held.item())

    def total(self, value: float) -> float:
        """The sum over all processes."""
        if self.size == 1:
            return value
        held = torch.tensor([value], dtype=torch.float64)
        held = held.cuda() if distributed.get_backend() == "nccl" else held
        distributed.all_reduce(held)
        return float(held.item())


@contextlib.contextmanager
def world() -> Iterator[World]:
    """Join the processes that torchrun started; alone when it did not."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group(backend)
    try:
        yield World(distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()


def wrapped(network: nn.Module, here: World, where: torch.device) -> nn.Module:
    """The network, its gradients averaged over the processes when there are several."""
    if here.size == 1:
        return network
    return nn.parallel.DistributedDataParallel(network, device_ids=[where.index] if where.type == "cuda" else None)
