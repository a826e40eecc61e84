"""A model bundle: weights, network, preparation, class order, threshold, metrics, card. One folder.

bundle.json                all of it but the weights
models/model.safetensors   or models/model.onnx
configs/inference.json     what MONAI's bundle tools run
configs/metadata.json      in MONAI's metadata format
docs/model_card.md         for people; docs/model_card.json for programs
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from claimed_med.errors import ContractError, InputError, ModelError
from claimed_med.models import card, evaluate, monai_bundle, networks, recipe
from claimed_med.models.device import device, precision_for
from claimed_med.models.prepare import Preparation
from claimed_med.models.recipe import Recipe
from claimed_med.payload import digest_files, files_below, payload_digest

FORMAT = "claimed-med/bundle/1"
DESCRIPTION, WEIGHTS, ONNX = "bundle.json", "models/model.safetensors", "models/model.onnx"


@dataclass(frozen=True)
class Found:
    """What a classifier says of one image.

    Attributes:
        probabilities: One a class, in the order of `Bundle.classes`.
        predicted: With two classes the threshold decides, else the most probable one.
    """

    probabilities: list[float]
    predicted: str


@dataclass
class Bundle:
    """A trained model with all that is needed to use it.

    Attributes:
        classes: Names of the classes, in the order of the network's outputs.
        positive: The class whose probability is the score of an image; '' for segmentation.
        threshold: Score from which an image is called positive; chosen on validation images.
        recipe: Preparation, network and training.
        network_definition: As in `networks.definition`; empty for an ONNX model.
        weights: Name -> tensor; empty for an ONNX model.
        onnx: The ONNX model, or b''.
        metrics: Validation metrics by name.
        data: Counts and digests of the training data; no patient attribute.
        training: How it was trained: precision, seed, epochs, history.
        intended_use: For the card.
        n_channels: Channels of an image.
    """

    classes: list[str]
    positive: str
    threshold: float
    recipe: Recipe
    network_definition: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    onnx: bytes = b""
    metrics: dict[str, float] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    intended_use: str = ""
    n_channels: int = 1

    @property
    def task(self) -> str:
        """`classification` or `segmentation`."""
        return self.recipe.task

    @property
    def dims(self) -> int:
        """Spatial axes."""
        return self.recipe.dims

    @cached_property
    def digest(self) -> str:
        """The payload digest of the bundle's folder."""
        return payload_digest(digest_files(dict(self.files())))

    @cached_property
    def _preparation(self) -> Preparation:
        return Preparation(self.recipe, self.n_channels)

    @cached_property
    def _here(self) -> nn.Module:
        return self.network(str(device()))

    @cached_property
    def _session(self) -> Any:
        from claimed_med.models.onnx import session

        return session(self.onnx)

    def network(self, device: str = "cpu") -> nn.Module:
        """The network with its weights, in evaluation mode, float32.

        Args:
            device: Where it is put.

        Raises:
            InputError: The bundle holds an ONNX model.
            ModelError: Weights and network do not fit.
        """
        if self.onnx:
            raise InputError("bundle", "an ONNX model has no gradients", do="use a method that needs none")
        made = networks.build(self.network_definition)
        try:
            made.load_state_dict(self.weights)
        except RuntimeError as error:
            raise ModelError("bundle", "weights and network do not fit", got=str(error).splitlines()[0]) from None
        layout = torch.channels_last if self.dims == 2 else torch.channels_last_3d
        return made.float().eval().to(device).to(memory_format=layout)

    def prepare(self, pixels: npt.NDArray[Any], spacing_mm: Sequence[float]) -> npt.NDArray[np.float32]:
        """Prepare one image as in training.

        Args:
            pixels: Shape (row, column) or (slice, row, column).
            spacing_mm: One number an axis [mm].

        Returns:
            Shape (channel, *spatial), float32 in [0, 1].

        Raises:
            InputError: NaN or infinite pixels, or another number of axes.
        """
        made = np.asarray(self._preparation.image(pixels, spacing_mm), dtype=np.float32)
        if len(made) != self.n_channels:
            what = "the image has another number of channels or slices"
            raise InputError("bundle", what, got=len(made), allowed=str(self.n_channels))
        return made

    def probabilities(
        self, batch: npt.NDArray[np.float32], batch_size: int = 16, precision: str = "float32"
    ) -> npt.NDArray[np.float64]:
        """Class probabilities of prepared images.

        Args:
            batch: Shape (n, channel, *spatial), float32 in [0, 1].
            batch_size: Images at once.
            precision: float32 for what is reported of a patient; `auto` (bfloat16 where the device is made for it) for
                the thousands of changed images of explanations and robustness. Without effect on ONNX models.

        Returns:
            Shape (n, class).
        """
        images = np.ascontiguousarray(batch, dtype=np.float32)
        if self.onnx:
            from claimed_med.models.onnx import probabilities

            return probabilities(self._session, images, batch_size)
        where = next(self._here.parameters()).device
        chosen = precision_for(precision, where)
        return evaluate.class_probabilities(self._here, torch.from_numpy(images), chosen, where, batch_size)

    def quick_probabilities(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """`probabilities` in the precision that the device is fastest in, for many changed images."""
        return self.probabilities(batch, precision="auto")

    def classify(self, pixels: npt.NDArray[Any], spacing_mm: Sequence[float], where: str = "bundle") -> Found:
        """Classify one image; the same bits alone and among others.

        Args:
            pixels: Shape (row, column) or (slice, row, column).
            spacing_mm: One number an axis [mm].
            where: The component that speaks.

        Raises:
            InputError: As `prepare`.
            ModelError: The model gave no probabilities.
        """
        probabilities = self.probabilities(self.prepare(pixels, spacing_mm)[None])[0]
        if not np.isfinite(probabilities).all():
            raise ModelError(where, "the model gave NaN", do="train it again, with a lower learning rate")
        score = float(probabilities[self.classes.index(self.positive)])
        if len(self.classes) == 2:
            negative = next(one for one in self.classes if one != self.positive)
            return Found([float(one) for one in probabilities], self.positive if score >= self.threshold else negative)
        return Found([float(one) for one in probabilities], self.classes[int(probabilities.argmax())])

    def label_voxels(
        self, pixels: npt.NDArray[Any], spacing_mm: Sequence[float], overlap: float = 0.25
    ) -> npt.NDArray[np.uint8]:
        """Segment one volume on its own grid, window by window.

        Args:
            pixels: Shape (slice, row, column).
            spacing_mm: One number an axis [mm].
            overlap: Of the windows, as a part of their size.

        Returns:
            Shape of `pixels`; 0 is background, k the class number k.
        """
        image = self._preparation.image(pixels, spacing_mm)
        where = next(self._here.parameters()).device
        found = evaluate.voxel_probabilities(self._here, image, self.recipe, "float32", where, overlap)
        on_grid = self._preparation.back(found, image)
        return np.asarray(on_grid.argmax(0).numpy(), dtype=np.uint8)

    def describe(self) -> dict[str, Any]:
        """All but the weights, JSON-ready: `bundle.json`."""
        return {
            "format": FORMAT,
            "task": self.task,
            "classes": self.classes,
            "positive": self.positive,
            "threshold": self.threshold,
            "n_channels": self.n_channels,
            "network": self.network_definition,
            "recipe": self.recipe.as_dict(),
            "metrics": self.metrics,
            "data": self.data,
            "training": self.training,
            "intended_use": self.intended_use,
        }

    def files(self) -> Mapping[str, bytes]:
        """The payload: relative name -> bytes."""
        told = self.describe()
        shown = card.card(told)
        model = {ONNX: self.onnx} if self.onnx else {WEIGHTS: safetensors.torch.save(_contiguous(self.weights))}
        return {
            DESCRIPTION: _json(told),
            **model,
            "configs/metadata.json": _json(monai_bundle.metadata(told)),
            "configs/inference.json": _json(monai_bundle.inference(told)),
            "docs/model_card.json": _json(shown),
            "docs/model_card.md": card.markdown(shown).encode(),
        }


def read(folder: Path) -> Bundle:
    """Read a bundle.

    Raises:
        InputError: The folder holds no bundle of a known format.
        ModelError: The weights cannot be read.
    """
    file = folder / DESCRIPTION
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(
            "bundle", f"the folder holds no {DESCRIPTION}", do="give the output of train-classifier"
        ) from None
    if told.get("format") != FORMAT:
        raise InputError("bundle", "the format is not known", got=str(told.get("format")), allowed=FORMAT)
    try:
        made = Bundle(
            classes=list(told["classes"]),
            positive=str(told["positive"]),
            threshold=float(told["threshold"]),
            recipe=recipe.from_dict(told["recipe"]),
            network_definition=dict(told["network"]),
            metrics=dict(told["metrics"]),
            data=dict(told["data"]),
            training=dict(told["training"]),
            intended_use=str(told["intended_use"]),
            n_channels=int(told["n_channels"]),
        )
    except (KeyError, TypeError, ContractError) as error:
        raise InputError("bundle", f"{DESCRIPTION} is not complete", got=str(error)) from None
    if (folder / ONNX).is_file():
        made.onnx = (folder / ONNX).read_bytes()
    else:
        made.weights = _weights(folder / WEIGHTS)
    made.__dict__["digest"] = payload_digest(digest_files(_payload(folder)))
    return made


def _payload(folder: Path) -> dict[str, Path | bytes]:
    return {name: path for name, path in files_below(folder).items() if name != "lineage.json"}


def _weights(file: Path) -> dict[str, torch.Tensor]:
    try:
        return dict(safetensors.torch.load_file(file))
    except (OSError, SafetensorError):
        raise ModelError("bundle", "the weights cannot be read", do="fetch the bundle again") from None


def _contiguous(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: weights[name].detach().cpu().contiguous().clone() for name in sorted(weights)}


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
