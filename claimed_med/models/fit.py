"""Train a network: the same data, recipe and seed give the same bits, also when it was killed half way.

Nothing random is remembered from step to step: what is drawn depends on (seed, epoch, image) or (seed, step) only, so a
run that resumes from a checkpoint goes on exactly as if nothing had happened.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from claimed_med.errors import ModelError
from claimed_med.models import augment, checkpoint, evaluate, networks, samples
from claimed_med.models.device import DTYPES, deterministic, device, free_memory, numbers, out_of_memory, precision_for
from claimed_med.models.distributed import World, world, wrapped
from claimed_med.models.journal import Journal
from claimed_med.models.loss import Loss
from claimed_med.models.recipe import Recipe
from claimed_med.models.samples import Samples
from claimed_med.models.schedule import learning_rate, optimizer_of

WORTH_COMPILING = 2000


@dataclass
class Fitted:
    """A trained network.

    Attributes:
        weights: Of the best epoch, on the processor, float32 (float64 when trained so).
        history: One entry an epoch: epoch, loss, metric, metric_name, learning_rate.
        best_epoch: Whose weights these are.
        precision: In which it was trained.
        notes: What the lineage says about this training.
    """

    weights: dict[str, torch.Tensor]
    history: list[dict[str, Any]]
    best_epoch: int
    precision: str
    notes: dict[str, str]


@dataclass
class _State:
    """Where a training stands; all that a checkpoint holds."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss: float = 0.0
    best: float = float("-inf")
    best_epoch: int = 0
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def epochs_without_gain(self) -> int:
        return len(self.history) - self.best_epoch


def fit(
    recipe: Recipe,
    described: dict[str, Any],
    training: Samples,
    validation: Samples,
    *,
    n_classes: int,
    seed: int,
    folder: Path | None = None,
    logs: Path | None = None,
    start: dict[str, torch.Tensor] | None = None,
) -> Fitted:
    """Train a network.

    Args:
        recipe: How.
        described: The network, from `networks.definition`.
        training: Images with truth.
        validation: Images with truth that choose the best epoch; may be empty, then the last epoch counts.
        n_classes: Number of classes (labels 0 ... n_classes - 1).
        seed: Of everything random.
        folder: Where checkpoints lie; a training that was killed goes on from there. None for no checkpoints.
        logs: Where TensorBoard logs go, or None.
        start: Weights to start from, instead of random ones.

    Returns:
        The weights of the best epoch.

    Raises:
        ModelError: Not enough memory, no deterministic kernel, or a loss that is not finite.
    """
    with world() as here, deterministic(recipe.compute.deterministic):
        trainer = _Trainer(recipe, described, training, validation, n_classes, seed, here, start)
        try:
            return trainer.run(folder, logs if here.rank == 0 else None)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise _too_big(recipe, "") from None


class _Trainer:
    def __init__(
        self,
        recipe: Recipe,
        described: dict[str, Any],
        training: Samples,
        validation: Samples,
        n_classes: int,
        seed: int,
        here: World,
        start: dict[str, torch.Tensor] | None,
    ) -> None:
        self.recipe, self.training, self.validation, self.seed, self.here = recipe, training, validation, seed, here
        self.described, self.start = described, start
        self.where = device()
        self.loss = Loss(recipe, training, n_classes, self.where)
        per_epoch = samples.n_batches(len(training) * self._repeats, recipe.training.batch_size)
        self.n_steps = per_epoch * recipe.training.epochs
        if recipe.training.max_steps:
            self.n_steps = min(self.n_steps, recipe.training.max_steps)
        segments = recipe.task == "segmentation"
        self.places = [samples.foreground(one) for one in training.targets] if segments else []
        self.state = _State()

    @property
    def _repeats(self) -> int:
        return self.recipe.training.patches_per_image if self.recipe.task == "segmentation" else 1

    def run(self, folder: Path | None, logs: Path | None) -> Fitted:
        kept = checkpoint.load(folder, self._fingerprint()) if folder is not None else None
        self.precision = kept["precision"] if kept else precision_for(self.recipe.compute.precision, self.where)
        self._build(kept)
        if kept is None:
            self._check_memory()
        self.journal = Journal(self.n_steps, logs)
        while self.state.epoch < self.recipe.training.epochs and self.state.step < self.n_steps:
            self._epoch(folder)
            if 0 < self.recipe.training.patience <= self.state.epochs_without_gain:
                break
        self.journal.close()
        if folder is not None and self.here.rank == 0:
            checkpoint.remove(folder)
        return Fitted(self.state.best_weights, self.state.history, self.state.best_epoch, self.precision, self._notes())

    def _build(self, kept: dict[str, Any] | None) -> None:
        torch.manual_seed(self.seed)
        network = networks.build(self.described).to(DTYPES["float64" if self.precision == "float64" else "float32"])
        if self.start is not None:
            network.load_state_dict(self.start)
        if kept:
            network.load_state_dict(kept["weights"])
        network = network.to(self.where)
        if self.recipe.compute.channels_last:
            network = network.to(memory_format=self._layout())
        self.network = network
        self.parallel = wrapped(self._compiled(network), self.here, self.where)
        self.optimizer = optimizer_of(network, self.recipe.training)
        self.scaler = torch.amp.GradScaler(self.where.type, enabled=self.precision == "float16")
        if kept:
            self.optimizer.load_state_dict(kept["optimizer"])
            self.scaler.load_state_dict(kept["scaler"])
            self.state = _State(**kept["state"])

    def _layout(self) -> torch.memory_format:
        return torch.channels_last if self.recipe.dims == 2 else torch.channels_last_3d

    def _compiled(self, network: nn.Module) -> nn.Module:
        wanted = self.recipe.compute.compile
        pays = self.where.type == "cuda" and self.n_steps >= WORTH_COMPILING
        if wanted == "on" or (wanted == "auto" and pays):
            compiled: nn.Module = torch.compile(network)
            return compiled
        return network

    def _epoch(self, folder: Path | None) -> None:
        state, options = self.state, self.recipe.training
        indices = samples.order(len(self.training), self.seed, state.epoch, self._repeats)
        for number, batch in enumerate(samples.batches(indices, options.batch_size)):
            if number < state.batch:
                continue
            if state.step >= self.n_steps:
                break
            state.loss += self._step(batch, number)
            state.batch += 1
            if folder is not None and state.step % self.recipe.compute.checkpoint_steps == 0:
                self._save(folder)
        self._end_of_epoch()
        if folder is not None:
            self._save(folder)

    def _step(self, batch: list[int], number: int) -> float:
        state = self.state
        state.step += 1
        rate = learning_rate(self.recipe.training, state.step, self.n_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(_number(self.seed, state.step, self.here.rank))
        self.parallel.train()
        mine = self.here.share(list(range(len(batch))))
        images, targets = self._batch([batch[one] for one in mine], [(number, one) for one in mine])
        self.optimizer.zero_grad(set_to_none=True)
        with numbers(self.precision, self.where):
            output = networks.logits(self.parallel(images))
        loss = self.loss(output, targets, batch) * self.here.size
        self.scaler.scale(loss).backward()
        if self.recipe.training.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.training.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        told = self.here.total(float(loss.detach())) / self.here.size
        if not math.isfinite(told):
            raise ModelError(
                "training",
                "the loss is not finite",
                got=f"step {state.step}",
                do='lower learning_rate, set clip_norm, or precision = "float32"',
            )
        self.journal.step(state.step, told, rate)
        return told

    def _batch(self, indices: list[int], places: list[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
        epoch = self.state.epoch
        keys = [(self.seed, epoch, index, *place) for index, place in zip(indices, places, strict=True)]
        if self.recipe.task == "segmentation":
            pairs = [
                samples.patch(self.training.images[one], self.training.targets[one], self.recipe, key, self.places[one])
                for one, key in zip(indices, keys, strict=True)
            ]
            images = torch.stack([image for image, _ in pairs])
            targets = torch.stack([labels for _, labels in pairs])
        else:
            images = torch.stack([self.training.images[one] for one in indices])
            targets = torch.tensor([self.training.targets[one] for one in indices])
        images, targets = self._placed(images), targets.to(self.where, non_blocking=True)
        drawn = augment.draw(self.recipe.augment, keys, self.recipe.dims)
        if self.recipe.task == "segmentation":
            images, targets = augment.apply(images, drawn, targets)
        else:
            images = augment.apply(images, drawn)
        return images, targets.long()

    def _placed(self, images: torch.Tensor) -> torch.Tensor:
        kind = DTYPES["float64"] if self.precision == "float64" else DTYPES["float32"]
        if self.where.type == "cuda":
            images = images.pin_memory()
        images = images.to(self.where, kind, non_blocking=True)
        return images.contiguous(memory_format=self._layout()) if self.recipe.compute.channels_last else images

    def _end_of_epoch(self) -> None:
        state = self.state
        metric, name = None, evaluate.METRICS[self.recipe.task]
        if len(self.validation):
            found = evaluate.score(self.network, self.validation, self.recipe, self.precision, self.where)
            metric = self.here.same(found)
        state.epoch += 1
        entry = {
            "epoch": state.epoch,
            "loss": state.loss / max(1, state.batch),
            "metric": metric,
            "metric_name": name,
            "learning_rate": learning_rate(self.recipe.training, state.step, self.n_steps),
        }
        state.history.append(entry)
        if metric is None or metric > state.best or not state.best_weights:
            state.best, state.best_epoch = metric if metric is not None else 0.0, state.epoch
            state.best_weights = {
                key: one.detach().to("cpu", copy=True).contiguous() for key, one in self.network.state_dict().items()
            }
        state.batch, state.loss = 0, 0.0
        if self.here.rank == 0:
            self.journal.epoch(state.step, entry)

    def _save(self, folder: Path) -> None:
        if self.here.rank == 0:
            checkpoint.save(
                folder,
                {
                    "fingerprint": self._fingerprint(),
                    "precision": self.precision,
                    "weights": self.network.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "scaler": self.scaler.state_dict(),
                    "state": dict(vars(self.state)),
                },
            )

    def _fingerprint(self) -> str:
        content = [self.recipe.as_dict(), self.described, self.seed, self.here.size, self.training.digest()]
        content.append(self.validation.digest())
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()

    def _notes(self) -> dict[str, str]:
        notes = {
            "precision": self.precision,
            "deterministic": "true" if self.recipe.compute.deterministic else "false",
            "channels_last": "true" if self.recipe.compute.channels_last else "false",
            "processes": str(self.here.size),
            "training_device": self.where.type,
        }
        if self.here.size > 1 and networks.has_batch_statistics(self.network):
            notes["warning"] = "batch statistics are those of each process's part of a batch, not of the whole batch"
        return notes

    def _check_memory(self) -> None:
        """Foretell what a step needs, from what autograd keeps of two images, before hours are lost."""
        free = free_memory()
        if self.where.type != "cpu" or not free or len(self.training) < 2:
            return
        kept = [0]

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            kept[0] += tensor.numel() * tensor.element_size()
            return tensor

        network = copy.deepcopy(self.network).train()
        images, _ = self._batch([0, 1], [(0, 0), (0, 1)])
        keep: Callable[[torch.Tensor], torch.Tensor] = lambda tensor: tensor  # noqa: E731 - a hook that does nothing
        with torch.autograd.graph.saved_tensors_hooks(pack, keep), numbers(self.precision, self.where):
            network(images)
        needed = kept[0] / 2 * min(self.recipe.training.batch_size, len(self.training)) * 1.5
        if needed > free:
            raise _too_big(self.recipe, f"about {needed / 2**30:.1f} GiB a step, {free / 2**30:.1f} GiB are free")


def _number(*parts: int) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7], "big")


def _too_big(recipe: Recipe, told: str) -> ModelError:
    return ModelError(
        "training",
        "a training step does not fit into memory",
        got=told or f"batch_size {recipe.training.batch_size}",
        do="lower batch_size or the size of the images, or choose a smaller network",
    )
