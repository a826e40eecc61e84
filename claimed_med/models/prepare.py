"""From an image as it was read to what a network takes, and back. MONAI transforms by name, as a recipe lists them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai import transforms
from monai.data import MetaTensor

from claimed_med.errors import ContractError, InputError
from claimed_med.models.recipe import Recipe

# transforms that move voxels: applied to label maps too, with the nearest neighbour
_SPATIAL = frozenset(
    {"CenterSpatialCrop", "Flip", "Resize", "ResizeWithPadOrCrop", "Rotate90", "Spacing", "SpatialPad"}
)
_INTERPOLATED = frozenset({"Resize", "Spacing"})


class Preparation:
    """The `[[prepare]]` steps of a recipe.

    Args:
        recipe: Whose steps.
        n_channels: Channels of an image.

    Raises:
        ContractError: A transform does not take its arguments.
    """

    def __init__(self, recipe: Recipe, n_channels: int = 1) -> None:
        self.dims, self.n_channels = recipe.dims, n_channels
        self._images = transforms.Compose([_make(step) for step in recipe.prepare])
        self._labels = transforms.Compose(
            [_make(_nearest(step)) for step in recipe.prepare if step["transform"] in _SPATIAL]
        )

    def image(self, pixels: npt.NDArray[Any], spacing_mm: Sequence[float]) -> MetaTensor:
        """Prepare one image.

        Args:
            pixels: Shape (row, column), (slice, row, column), or with a leading channel axis.
            spacing_mm: One number a spatial axis [mm].

        Returns:
            Shape (channel, *spatial), float32 in [0, 1]; remembers how to go back.

        Raises:
            InputError: NaN or infinite pixels, or another number of axes.
        """
        array = np.asarray(pixels, dtype=np.float32)
        array = array[None] if array.ndim == self.dims else array
        if array.ndim != self.dims + 1 or array.shape[0] != self.n_channels:
            raise InputError(
                "prepare",
                "the image has other axes than the model takes",
                got=" x ".join(map(str, np.asarray(pixels).shape)),
                allowed=f"{self.dims} axes" + (f" after {self.n_channels} channels" if self.n_channels > 1 else ""),
            )
        if not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            raise InputError("prepare", "pixels are NaN or infinite", got=f"{bad} pixels", do="leave this image out")
        made: MetaTensor = self._images(_tensor(array, spacing_mm)).to(torch.float32)
        return made

    def labels(self, labels: npt.NDArray[Any], spacing_mm: Sequence[float]) -> torch.Tensor:
        """Prepare a label map in the same way, without interpolation.

        Args:
            labels: Shape (*spatial), integers from 0.
            spacing_mm: As for the image.

        Returns:
            Shape (*spatial), uint8.
        """
        made = self._labels(_tensor(np.asarray(labels, dtype=np.float32)[None], spacing_mm))
        return torch.as_tensor(np.asarray(made[0])).round().to(torch.uint8)

    def back(self, maps: torch.Tensor, image: MetaTensor) -> torch.Tensor:
        """Bring maps on the prepared grid back to the grid of the image as it was read.

        Args:
            maps: Shape (channel, *spatial of the prepared image).
            image: What `image` returned.

        Returns:
            Shape (channel, *spatial of the image).
        """
        if not image.applied_operations:
            return maps
        tracked = MetaTensor(maps, affine=image.affine, applied_operations=list(image.applied_operations))
        steps = transforms.Compose([one for one in self._images.transforms if type(one).__name__ in _SPATIAL])
        return torch.as_tensor(np.asarray(steps.inverse(tracked)))


def size_of(recipe: Recipe) -> list[int]:
    """The spatial size that the steps lead to, for networks that are bound to one; the patch for segmentation."""
    if recipe.task == "segmentation":
        return list(recipe.training.patch_size)
    sizes = [step["spatial_size"] for step in recipe.prepare if "spatial_size" in step]
    if not sizes:
        raise ContractError("recipe", "images have no common size", do="add a step Resize or ResizeWithPadOrCrop")
    last = sizes[-1]
    return list(last) if isinstance(last, list | tuple) else [int(last)] * recipe.dims


def _tensor(array: npt.NDArray[Any], spacing_mm: Sequence[float]) -> MetaTensor:
    affine = torch.eye(4, dtype=torch.float64)
    for axis, size in enumerate(spacing_mm):
        affine[axis, axis] = float(size)
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(array)), affine=affine)


def _make(step: Any) -> Any:
    arguments = {key: value for key, value in step.items() if key != "transform"}
    try:
        return getattr(transforms, step["transform"])(**arguments)
    except (TypeError, ValueError) as error:
        told = str(error).splitlines()[0]
        raise ContractError("recipe", f"{step['transform']} does not take its arguments", got=told) from None


def _nearest(step: Any) -> dict[str, Any]:
    return {**step, "mode": "nearest"} if step["transform"] in _INTERPOLATED else dict(step)
