"""The brain in a T1-weighted MR of the head: network and weights of the package deepbet (MIT), which carries both.

RAS exists only in here: arrays come and go with the axes of their volume.
"""

from __future__ import annotations

import hashlib
import importlib.util
import warnings
from functools import cache
from pathlib import Path
from typing import Any

from claimed_med.errors import InputError, MissingDependencyError, require

LPS_FROM_RAS = (-1.0, -1.0, 1.0, 1.0)
SMALLEST_EXTENT_MM = 100.0
PLAUSIBLE_ML = (250.0, 2500.0)
_WEIGHTS = ("bbox_model.pt", "model.pt")


def weights_files() -> list[Path]:
    """The weight files that deepbet brings.

    Raises:
        MissingDependencyError: deepbet is not installed.
    """
    spec = importlib.util.find_spec("deepbet")
    if spec is None or spec.origin is None:
        raise MissingDependencyError(
            "segment-brain", "deepbet is not installed", do="run: pip install 'claimed_med[torch]'"
        )
    folder = Path(spec.origin).parents[1] / "data" / "models"
    return [folder / name for name in _WEIGHTS]


@cache
def weights_digest() -> str:
    """The sha256 over all weight files, in order of name."""
    digest = hashlib.sha256()
    for path in weights_files():
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def label_brain(volume: Any, threshold: float = 0.5) -> Any:
    """Label the brain 1 and all else 0.

    Args:
        volume: Shape (slice, row, column), any MR intensity, affine index -> LPS [mm]; a whole head.
        threshold: Probability from which a voxel is brain.

    Returns:
        Volume of uint8 labels on the same grid.

    Raises:
        InputError: The volume covers no whole head, or no plausible brain is found in it.
        MissingDependencyError: torch or deepbet is not installed.
    """
    import numpy as np

    spacing, shape = [float(size) for size in volume.spacing], volume.array.shape
    extent = [size * count for size, count in zip(spacing, shape, strict=True)]
    if min(extent) < SMALLEST_EXTENT_MM:
        told = " x ".join(f"{size:.0f}" for size in extent)
        raise InputError(
            "segment-brain",
            "the volume covers no whole head",
            got=f"{told} mm",
            allowed=f"at least {SMALLEST_EXTENT_MM:.0f} mm each way",
        )
    mask = _predict(np.asarray(volume.array, np.float32), np.asarray(volume.affine), threshold)
    found_ml = float(mask.sum()) * float(np.prod(spacing)) / 1000.0
    if not PLAUSIBLE_ML[0] <= found_ml <= PLAUSIBLE_ML[1]:
        raise InputError(
            "segment-brain",
            "no plausible brain was found",
            got=f"{found_ml:.0f} mL",
            allowed=f"{PLAUSIBLE_ML[0]:.0f} to {PLAUSIBLE_ML[1]:.0f} mL",
            do="choose a T1-weighted MR of a whole head",
        )
    return volume.with_array(mask.astype(np.uint8))


def _predict(array: Any, affine: Any, threshold: float) -> Any:
    """The mask on the grid of `array`: turned to RAS for the network, and back."""
    import nibabel as nib
    import numpy as np

    require("torch", "torch")
    turn = nib.io_orientation(np.diag(LPS_FROM_RAS) @ affine)
    upright = nib.apply_orientation(array, turn)
    network = _network()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            probability = network.run_model(np.ascontiguousarray(upright))
            mask = network.postprocess(probability > threshold) > 0
        except (AssertionError, ValueError):
            raise InputError(
                "segment-brain", "the network found no head", do="choose a T1-weighted MR of a whole head"
            ) from None
    axes = nib.orientations.axcodes2ornt(("R", "A", "S"))
    back = nib.orientations.ornt_transform(axes, turn)
    return np.ascontiguousarray(nib.apply_orientation(mask, back))


@cache
def _network() -> Any:
    """Networks and weights, on the GPU where there is one."""
    from deepbet import BrainExtraction

    return BrainExtraction()
