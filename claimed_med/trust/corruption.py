"""What happens to images in hospitals: noise, blur, rotation, gain, another spacing, a cropped field, JPEG.

Each corruption has five named strengths; strength 0 leaves the image as it is. Images are float32 in [0, 1].
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from claimed_med.errors import ContractError

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Corruption:
    """One kind of corruption.

    Attributes:
        unit: What a strength means.
        strengths: From weak to strong.
        apply: (image of shape (channel, *spatial), strength, generator) -> image.
    """

    unit: str
    strengths: Sequence[float]
    apply: Callable[[Floats, float, np.random.Generator], Floats]


def corrupt(name: str, image: Floats, strength: float, seed: int) -> Floats:
    """Corrupt one image.

    Args:
        name: One of `CORRUPTIONS`.
        image: Shape (channel, *spatial), float32 in [0, 1].
        strength: In the corruption's unit; 0 leaves the image as it is.
        seed: Of what is random.

    Returns:
        Of the same shape, in [0, 1].

    Raises:
        ContractError: An unknown corruption.
    """
    if name not in CORRUPTIONS:
        raise ContractError("robustness", "unknown corruption", got=repr(name), allowed=", ".join(CORRUPTIONS))
    if strength == 0:
        return image.copy()
    made = CORRUPTIONS[name].apply(image, strength, np.random.default_rng(seed))
    return np.asarray(np.clip(made, 0, 1), dtype=np.float32)


def _noise(image: Floats, strength: float, generator: np.random.Generator) -> Floats:
    return np.asarray(image + generator.normal(0, strength, image.shape), dtype=np.float32)


def _blur(image: Floats, strength: float, _: np.random.Generator) -> Floats:
    widths = [0.0, *(strength / 100 * length for length in image.shape[1:])]
    return np.asarray(ndimage.gaussian_filter(image, widths), dtype=np.float32)


def _rotation(image: Floats, strength: float, generator: np.random.Generator) -> Floats:
    angle = strength * (1 if generator.random() < 0.5 else -1)
    return np.asarray(
        ndimage.rotate(image, angle, axes=(-2, -1), reshape=False, order=1, mode="nearest"), dtype=np.float32
    )


def _gain(image: Floats, strength: float, generator: np.random.Generator) -> Floats:
    factor = 1 + strength * (1 if generator.random() < 0.5 else -1)
    return np.asarray(image * factor, dtype=np.float32)


def _offset(image: Floats, strength: float, generator: np.random.Generator) -> Floats:
    return np.asarray(image + strength * (1 if generator.random() < 0.5 else -1), dtype=np.float32)


def _spacing(image: Floats, strength: float, generator: np.random.Generator) -> Floats:
    """A detector with other pixels: the body is larger or smaller in the image by this part."""
    factor = 1 + strength * (1 if generator.random() < 0.5 else -1)
    middle = (np.array(image.shape[1:]) - 1) / 2
    made = [
        ndimage.affine_transform(
            channel, np.full(channel.ndim, 1 / factor), offset=middle - middle / factor, order=1, mode="nearest"
        )
        for channel in image
    ]
    return np.stack(made).astype(np.float32)


def _crop(image: Floats, strength: float, generator: np.random.Generator) -> Floats:
    """A part of the field at one edge is missing."""
    made = image.copy()
    axis = int(generator.integers(1, image.ndim))
    width = max(1, round(strength * image.shape[axis]))
    cut = [slice(None)] * image.ndim
    cut[axis] = slice(0, width) if generator.random() < 0.5 else slice(image.shape[axis] - width, None)
    made[tuple(cut)] = 0.0
    return made


def _jpeg(image: Floats, strength: float, _: np.random.Generator) -> Floats:
    planes = np.asarray(image.reshape(-1, *image.shape[-2:]))
    made = [_compressed(plane, int(strength)) for plane in planes]
    return np.asarray(np.stack(made).reshape(image.shape), dtype=np.float32)


def _compressed(plane: Floats, quality: int) -> Floats:
    held = io.BytesIO()
    Image.fromarray(np.asarray(plane * 255, dtype=np.uint8)).save(held, "JPEG", quality=quality)
    with Image.open(held) as opened:
        return np.asarray(np.asarray(opened) / 255, dtype=np.float32)


CORRUPTIONS: dict[str, Corruption] = {
    "noise": Corruption("standard deviation, part of the range", (0.02, 0.05, 0.1, 0.15, 0.2), _noise),
    "blur": Corruption("width, % of the image", (0.5, 1.0, 1.5, 2.0, 3.0), _blur),
    "rotation": Corruption("degree", (3, 6, 10, 15, 20), _rotation),
    "gain": Corruption("relative change of contrast", (0.05, 0.1, 0.2, 0.3, 0.4), _gain),
    "offset": Corruption("shift, part of the range", (0.02, 0.05, 0.1, 0.15, 0.2), _offset),
    "spacing": Corruption("relative change of size", (0.03, 0.06, 0.1, 0.15, 0.2), _spacing),
    "crop": Corruption("part of one axis that is missing", (0.03, 0.06, 0.1, 0.15, 0.2), _crop),
    "jpeg": Corruption("quality", (90, 70, 50, 30, 10), _jpeg),
}
