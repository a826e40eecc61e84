"""A network as a server runs it: whole, in one call that holds no Python thread up, and with what its last layer gets.

Layer by layer, a network of small layers waits for the interpreter's lock dozens of times an image, while other threads
read and write requests. Recorded once as a graph, it runs as a whole beside them. The graph calls the same kernels in
the same order, so it gives the same bits; that is not believed but looked at, on seeded images of several batch sizes,
before it is used. A network that cannot be recorded, or gives other bits, runs layer by layer.
"""

from __future__ import annotations

import threading
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from claimed_med.models import networks

MOST_AT_ONCE = 16  # as Bundle.probabilities: bits depend on the size of a batch
MOST_EMBEDDED = 2048
_SIZES = (1, 2, 3, 1)  # batches that must be equal to the byte; the first calls of a graph are those that shape it
Floats = npt.NDArray[np.float32]


class Tapped(nn.Module):
    """Class probabilities of a classifier, and the input of its last linear layer.

    Args:
        network: In evaluation mode; nobody else may use it.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._kept = threading.local()  # one network runs on several threads
        linear = [one for one in network.modules() if isinstance(one, nn.Linear)]
        if linear:
            linear[-1].register_forward_pre_hook(self._keep)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Shape (n, class), float64; and (n, number) where there is a last linear layer that sees every image once."""
        self._kept.inputs = []
        output = networks.logits(self.network(images))
        found = (torch.softmax(output.double(), dim=1),)
        inputs, self._kept.inputs = self._kept.inputs, []
        if len(inputs) != 1 or inputs[0].shape[0] != images.shape[0]:
            return found
        embedding = inputs[0].flatten(1)
        return (*found, embedding.float()) if embedding.shape[1] <= MOST_EMBEDDED else found

    def _keep(self, _: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        self._kept.inputs.append(given[0])


class Network:
    """Runs a classifier; several threads may at once.

    Args:
        network: In evaluation mode, on its device; nobody else may use it.
        shape: Of an image: (channel, *spatial).
    """

    def __init__(self, network: nn.Module, shape: tuple[int, ...]) -> None:
        self._where = next(network.parameters()).device
        self._is_here = self._where.type == "cpu"
        self._eager = Tapped(network.requires_grad_(requires_grad=False)).eval()
        self._run: Any = self._recorded(shape) or self._eager

    @property
    def is_recorded(self) -> bool:
        """Whether it runs as a whole."""
        return self._run is not self._eager

    def __call__(self, images: Floats) -> tuple[npt.NDArray[np.float64], Floats | None]:
        """Class probabilities, and the embedding where there is one.

        Args:
            images: Shape (n, channel, *spatial), float32.

        Returns:
            Shapes (n, class) and (n, number).
        """
        if len(images) <= MOST_AT_ONCE:
            columns = self._part(images)
        else:
            starts = range(0, len(images), MOST_AT_ONCE)
            parts = [self._part(images[start : start + MOST_AT_ONCE]) for start in starts]
            columns = [np.concatenate(one) for one in zip(*parts, strict=True)]
        return columns[0], columns[1] if len(columns) > 1 else None

    def _part(self, images: Floats) -> list[npt.NDArray[Any]]:
        whole = np.require(images, np.float32, ["C", "W"])  # what came in a message may only be read
        with torch.inference_mode():
            if self._is_here:  # every call of torch gives Python's lock away, and waits to have it back
                return [one.numpy() for one in self._run(torch.from_numpy(whole))]
            return [one.cpu().numpy() for one in self._run(torch.from_numpy(whole).to(self._where))]

    def _recorded(self, shape: tuple[int, ...]) -> Any:
        generator = torch.Generator().manual_seed(0)
        images = [torch.rand((n, *shape), generator=generator).to(self._where) for n in _SIZES]
        try:
            with warnings.catch_warnings(), torch.inference_mode():
                warnings.simplefilter("ignore")  # what a recorder cannot follow shows in the bits
                made = torch.jit.trace(self._eager, images[1], check_trace=False)
                is_same = all(_equal(made(one), self._eager(one)) for one in images)
        except Exception:  # noqa: BLE001 - whatever a recorder trips over, the network itself is there
            return None
        return made if is_same else None


def _equal(ours: tuple[torch.Tensor, ...], theirs: tuple[torch.Tensor, ...]) -> bool:
    return len(ours) == len(theirs) and all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
