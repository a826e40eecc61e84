"""What a person sees of a training while it goes on: lines, and TensorBoard logs. Never part of a payload."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Journal:
    """Tells epochs as they end.

    Args:
        n_steps: Steps of the whole training.
        folder: Where TensorBoard logs go, or None.
    """

    def __init__(self, n_steps: int, folder: Path | None) -> None:
        self.n_steps = n_steps
        self._started = time.monotonic()
        self._first_step: int | None = None
        self._writer = _writer(folder) if folder is not None else None

    def step(self, step: int, loss: float, rate: float) -> None:
        """Note one step."""
        if self._first_step is None:
            self._first_step = step - 1
        if self._writer is not None:
            self._writer.add_scalar("training/loss", loss, step)
            self._writer.add_scalar("training/learning_rate", rate, step)

    def epoch(self, step: int, entry: dict[str, Any]) -> None:
        """Tell the end of an epoch: loss, metric, time left."""
        done = step - (self._first_step or 0)
        left = (time.monotonic() - self._started) / max(1, done) * max(0, self.n_steps - step)
        metric = "" if entry["metric"] is None else f"  {entry['metric_name']} {entry['metric']:.3f}"
        told = f"epoch {entry['epoch']:>3}  loss {entry['loss']:.4f}{metric}  {left / 60:.1f} min left at most"
        print(told, file=sys.stderr, flush=True)
        if self._writer is not None and entry["metric"] is not None:
            self._writer.add_scalar(f"validation/{entry['metric_name']}", entry["metric"], step)
            self._writer.flush()

    def close(self) -> None:
        """Close the logs."""
        if self._writer is not None:
            self._writer.close()


def tell_metrics(metrics: Mapping[str, float]) -> None:
    """Print the metrics of a finished training, `name=value`: what the collector of a Katib experiment reads."""
    for name, value in metrics.items():
        print(f"{name}={value:.6f}")


def _writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))
