"""Checkpoints of a training: written all or nothing, so that a kill at any moment loses at most a few steps."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

NAME = "checkpoint.pt"


def save(folder: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint in place of the last one.

    Args:
        folder: Made when it is not there.
        content: Tensors and plain values.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".partial-{NAME}-{os.getpid()}"
    with partial.open("wb") as stream:
        torch.save(content, stream)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(folder / NAME)


def load(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """The last checkpoint of exactly this training, or None.

    Args:
        folder: Where it would be.
        fingerprint: Of data, recipe and seed; a checkpoint of anything else is left alone.
    """
    file = folder / NAME
    if not file.is_file():
        return None
    try:
        content = dict(torch.load(file, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
        return None
    return content if content.get("fingerprint") == fingerprint else None


def remove(folder: Path) -> None:
    """Remove the checkpoint of a training that is finished."""
    (folder / NAME).unlink(missing_ok=True)
