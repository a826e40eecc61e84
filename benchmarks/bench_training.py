"""Time of a training step: this project's loop beside a bare PyTorch loop with the same network, batch and options.

The loops take turns in one process, step by step, so that what else the machine does hits all of them alike. A ratio is
the median of the ratios of steps that followed each other.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from claimed_med.models import fit, networks, recipe
from claimed_med.models.device import device, numbers, precision_for
from claimed_med.models.distributed import World
from claimed_med.models.journal import Journal
from claimed_med.models.loss import Loss
from claimed_med.models.samples import Samples
from claimed_med.models.schedule import optimizer_of

N_THREADS = 2
N_BLOCKS, STEPS_A_BLOCK = 21, 1

DENSENET = """
task = "classification"
dims = 2
[[prepare]]
transform = "Resize"
spatial_size = [128, 128]
[network]
name = "DenseNet121"
[training]
batch_size = 16
"""
UNET = """
task = "segmentation"
dims = 3
[network]
name = "UNet"
channels = [16, 32, 64, 128]
strides = [2, 2, 2]
num_res_units = 2
norm = "INSTANCE"
[training]
batch_size = 2
patch_size = [96, 96, 96]
"""


def run() -> list[dict[str, Any]]:
    """Rows: network, who, seconds a step, and speed relative to the bare loops."""
    torch.set_num_threads(N_THREADS)
    rows = []
    for name, text in (("DenseNet121 2D, 16 x 128 x 128", DENSENET), ("UNet 3D, 2 x 96 x 96 x 96", UNET)):
        rows += _measured(name, recipe.load(text))
    return rows


def _measured(name: str, chosen: recipe.Recipe) -> list[dict[str, Any]]:
    where = device()
    precision = precision_for("auto", where)
    samples = _samples(chosen)
    loops = {
        "bare PyTorch, float32": _bare(chosen, samples, "float32", channels_last=False),
        f"bare PyTorch, {precision}, channels_last": _bare(chosen, samples, precision, channels_last=True),
        f"claimed_med, {precision}, channels_last": _ours(chosen, samples, precision),
    }
    times: dict[str, list[float]] = {who: [] for who in loops}
    for step in loops.values():  # warm up
        step(), step()
    for _ in range(N_BLOCKS):
        for who, step in loops.items():
            started = time.perf_counter()
            for _ in range(STEPS_A_BLOCK):
                step()
            if where.type == "cuda":
                torch.cuda.synchronize()
            times[who].append((time.perf_counter() - started) / STEPS_A_BLOCK)
    medians = {who: statistics.median(found) for who, found in times.items()}
    plain, same, ours = times.values()
    rows = [{"case": name, "who": who, "s a step": round(value, 4)} for who, value in medians.items()]
    rows[-1] |= {
        "speed / bare, same options": round(_ratio(same, ours), 3),
        "speed / bare float32": round(_ratio(plain, ours), 2),
    }
    return rows


def _ratio(theirs: list[float], ours: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(theirs, ours, strict=True))


def _samples(chosen: recipe.Recipe) -> Samples:
    generator = np.random.default_rng(0)
    n = chosen.training.batch_size * 2
    if chosen.dims == 2:
        images = [torch.from_numpy(generator.random((1, 128, 128), dtype=np.float32)) for _ in range(n)]
        return Samples([str(one) for one in range(n)], images, [one % 2 for one in range(n)])
    size = (112, 112, 112)
    images = [torch.from_numpy(generator.random((1, *size), dtype=np.float32)) for _ in range(n)]
    labels = [torch.from_numpy((generator.random(size) > 0.9).astype(np.uint8)) for _ in range(n)]
    return Samples([str(one) for one in range(n)], images, labels)


def _definition(chosen: recipe.Recipe) -> dict[str, Any]:
    size = chosen.training.patch_size or (128, 128)
    return networks.definition(chosen.network, task=chosen.task, dims=chosen.dims, n_channels=1, n_classes=2, size=size)


def _ours(chosen: recipe.Recipe, samples: Samples, precision: str) -> Callable[[], None]:
    """The trainer's own step: batches drawn from the samples, schedule, checks and journal included."""
    trainer = fit._Trainer(  # noqa: SLF001 - the step itself is what is measured
        chosen, _definition(chosen), samples, Samples([], [], []), 2, 0, World(), None
    )
    trainer.precision = precision
    trainer._build(None)  # noqa: SLF001 - as above
    trainer.journal = Journal(10, None)
    batch = list(range(chosen.training.batch_size))
    return lambda: trainer._step(batch, 0) and None  # noqa: SLF001 - as above


def _bare(chosen: recipe.Recipe, samples: Samples, precision: str, *, channels_last: bool) -> Callable[[], None]:
    """What one writes without any framework: a fixed batch, no augmentation."""
    where = device()
    torch.manual_seed(0)
    network = networks.build(_definition(chosen)).to(where)
    layout = torch.channels_last if chosen.dims == 2 else torch.channels_last_3d
    n = chosen.training.batch_size
    if chosen.dims == 2:
        images = torch.stack(samples.images[:n])
        targets = torch.tensor(samples.targets[:n])
    else:
        cut = tuple(slice(0, length) for length in chosen.training.patch_size)
        images = torch.stack([one[(slice(None), *cut)] for one in samples.images[:n]])
        targets = torch.stack([one[cut] for one in samples.targets[:n]]).long()
    images, targets = images.to(where), targets.to(where)
    if channels_last:
        network, images = network.to(memory_format=layout), images.contiguous(memory_format=layout)
    optimizer = optimizer_of(network, chosen.training)
    loss = Loss(chosen, samples, 2, where)
    batch = list(range(n))

    def step() -> None:
        network.train()
        optimizer.zero_grad(set_to_none=True)
        with numbers(precision, where):
            output = network(images)
        value = functional.cross_entropy(output.float(), targets) if chosen.dims == 2 else loss(output, targets, batch)
        value.backward()
        optimizer.step()
        float(value.detach())

    return step


if __name__ == "__main__":
    for row in run():
        print(row)
