"""The models of a server: loaded from a private copy, blessed or overridden, warm, and swapped as a whole."""

from __future__ import annotations

import hashlib
import importlib
import math
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from claimed_med import registry
from claimed_med.blessing import NONE, Blessing
from claimed_med.component import Component
from claimed_med.errors import ClaimedMedError, InputError, ModelError
from claimed_med.handles import ModelBundle
from claimed_med.models.bundle import Bundle
from claimed_med.models.device import device
from claimed_med.models.held import hold
from claimed_med.models.prepare import size_of
from claimed_med.payload import copy_file, files_below, folder_digest
from claimed_med.services import serve_job, serve_metrics
from claimed_med.services.serve_error import WHERE
from claimed_med.services.serve_lane import Lane, Task
from claimed_med.services.serve_network import Network
from claimed_med.services.serve_source import Source

COMPONENTS = {"classification": "classify-images", "segmentation": "segment-volumes"}
# what components import in their bodies: the first request shall not wait for that
_WARM = tuple(
    f"claimed_med.dicom.{name}"
    for name in ("classification", "codes", "cohort", "explaining", "seg", "validate", "xray")
)
POOLED = 8


@dataclass(frozen=True)
class Inferred:
    """What the model said of the images of one task.

    Attributes:
        probabilities: Shape (n, class).
        embedding: Shape (n, number), float32.
        embedding_kind: `penultimate` or `pooled`.
    """

    probabilities: npt.NDArray[np.float64]
    embedding: npt.NDArray[np.float32]
    embedding_kind: str


class LaneBundle(Bundle):
    """A bundle whose networks run on the lane, together with what else waits there."""

    lane: Lane

    @classmethod
    def over(cls, bundle: Bundle, lane: Lane) -> Self:
        """The same bundle, on a lane."""
        made = cls.__new__(cls)
        made.__dict__.update(bundle.__dict__)
        made.lane = lane
        return made

    def prepare(self, pixels: npt.NDArray[Any], spacing_mm: Sequence[float]) -> npt.NDArray[np.float32]:
        """As of a bundle; notes the intensities for the record."""
        _note(pixels, spacing_mm)
        return super().prepare(pixels, spacing_mm)

    def probabilities(
        self, batch: npt.NDArray[np.float32], batch_size: int = 16, precision: str = "float32"
    ) -> npt.NDArray[np.float64]:
        """As of a bundle; what is asked for a patient is computed on the lane."""
        if precision != "float32" or self.lane.is_here():
            return super().probabilities(batch, batch_size, precision)
        found: Inferred = self.lane.call(self.task_of(batch))
        job = serve_job.current.get()
        if job is not None:
            job.noted |= {"embedding": found.embedding[0].tolist(), "embedding_kind": found.embedding_kind}
        return found.probabilities

    def label_voxels(
        self, pixels: npt.NDArray[Any], spacing_mm: Sequence[float], overlap: float = 0.25
    ) -> npt.NDArray[np.uint8]:
        """As of a bundle, on the lane."""
        if self.lane.is_here():
            return super().label_voxels(pixels, spacing_mm, overlap)
        _note(pixels, spacing_mm)
        plain = super().label_voxels
        found: npt.NDArray[np.uint8] = self.lane.call(Task(lambda _: [plain(pixels, spacing_mm, overlap)], None))
        return found

    def task_of(self, batch: npt.NDArray[np.float32]) -> Task:
        """The task of classifying prepared images, shape (n, channel, *spatial)."""
        kind = (self.digest, batch.shape[1:])
        return Task(self._classify, batch, kind, len(batch))

    def _classify(self, batches: Sequence[npt.NDArray[np.float32]]) -> list[Inferred]:
        whole = batches[0] if len(batches) == 1 else np.concatenate(batches)
        if self.onnx:
            probabilities, embedding = super().probabilities(whole), None
        else:
            probabilities, embedding = self._network(whole)
        kind = "pooled" if embedding is None else "penultimate"
        inputs = pooled(whole) if embedding is None else embedding
        starts = [0, *accumulate(map(len, batches))]
        return [Inferred(probabilities[one:end], inputs[one:end], kind) for one, end in pairwise(starts)]

    @cached_property
    def _network(self) -> Network:
        return Network(self.network(str(device())), (self.n_channels, *size_of(self.recipe)))


@dataclass(frozen=True)
class Served:
    """A model that is served.

    Attributes:
        name: Under which it is asked for.
        variant: `stable` or `canary`.
        folder: Our private copy of the bundle.
        bundle: Loaded from that.
        handle: On that, for the component.
        component: That runs it on DICOM.
        blessing: Why it may be served.
    """

    name: str
    variant: str
    folder: Path
    bundle: LaneBundle
    handle: ModelBundle
    component: Component
    blessing: Blessing

    @property
    def digest(self) -> str:
        """Payload digest of the bundle."""
        return self.bundle.digest

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Of a prepared image: (channel, *spatial)."""
        return (self.bundle.n_channels, *size_of(self.bundle.recipe))

    @cached_property
    def place(self) -> int:
        """Of the positive class among the classes."""
        return self.bundle.classes.index(self.bundle.positive)

    @cached_property
    def about(self) -> dict[str, str]:
        """What an answer says of the model."""
        told = {"model_digest": self.digest, "variant": self.variant}
        return told | ({"blessing_override": self.blessing.override} if self.blessing.override else {})

    def warm(self) -> None:
        """Compute once, so that the first request waits for nothing."""
        for module in _WARM:
            importlib.import_module(module)
        bundle, shape = self.bundle, self.shape
        if bundle.task == "classification":
            bundle.lane.call(bundle.task_of(np.zeros((1, *shape), dtype=np.float32)))
        else:
            bundle.label_voxels(np.zeros(shape[1:], dtype=np.float32), (1.0,) * bundle.dims)

    def publish(self, value: int) -> None:
        """Say in the metrics that it is served (1), or not any more (0)."""
        state = NONE if self.blessing.override else self.blessing.state
        serve_metrics.MODEL.labels(self.name, self.digest, self.variant, state, self.bundle.task).set(value)

    def close(self) -> None:
        """Remove the copy."""
        shutil.rmtree(self.folder.parent, ignore_errors=True)


def load(source: Source, name: str, variant: str, lane: Lane, work: Path) -> Served:
    """Copy a bundle, see whether it is blessed, read and warm it.

    The copy is what is hashed, blessed and read, so that nothing that happens to the source later counts.

    Raises:
        InputError: There is no bundle.
        ModelError: It cannot be read.
        RefusedError: It is not blessed, and there is no override.
    """
    folder = Path(tempfile.mkdtemp(prefix="model-", dir=work)) / "bundle"
    try:
        for file_name, path in files_below(source.bundle).items():
            target = folder / file_name
            target.parent.mkdir(parents=True, exist_ok=True)
            copy_file(path, target)
        blessing = source.blessing(WHERE, folder_digest(folder))
        handle = ModelBundle(folder)
        bundle = LaneBundle.over(handle.load(), lane)
        hold(handle, bundle)
        component = registry.get(COMPONENTS[bundle.task])
        served = Served(name, variant, folder, bundle, handle, component, blessing)
        served.warm()
    except BaseException as error:
        shutil.rmtree(folder.parent, ignore_errors=True)
        if isinstance(error, ClaimedMedError | KeyboardInterrupt | OSError):
            raise
        raise ModelError(
            WHERE, "the bundle cannot be run", got=type(error).__name__, do="train or fetch it again"
        ) from None
    return served


class Models:
    """The stable model and, beside it, perhaps a canary; replaced in one step while requests go on.

    Args:
        stable: Loaded.
        canary: Loaded, or None.
        canary_percent: Share of the inputs that the canary answers, 0-100.

    Raises:
        InputError: The two have different tasks or classes.
    """

    def __init__(self, stable: Served, canary: Served | None = None, canary_percent: int = 0) -> None:
        if canary is not None:
            ours, theirs = (
                (one.bundle.task, one.bundle.classes, size_of(one.bundle.recipe)) for one in (stable, canary)
            )
            if ours != theirs:
                raise InputError(
                    WHERE, "the canary answers another question than the stable model", do="serve it apart"
                )
        self.stable, self.canary, self.canary_percent = stable, canary, canary_percent

    def of(self, key: str) -> Served:
        """The model that answers for an input: always the same one for the same input.

        Args:
            key: Digest of the input, or StudyInstanceUID.
        """
        if self.canary is None:
            return self.stable
        share = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % 100
        return self.canary if share < self.canary_percent else self.stable

    def every(self) -> list[Served]:
        """All that are served."""
        return [self.stable, *([self.canary] if self.canary is not None else [])]


def device_name() -> str:
    """Where networks are computed."""
    return str(device())


def _note(pixels: npt.NDArray[Any], spacing_mm: Sequence[float]) -> None:
    job = serve_job.current.get()
    if job is not None:
        job.noted["features"] = features_of(np.asarray(pixels)) | {
            f"spacing_{axis}_mm": float(one) for axis, one in enumerate(spacing_mm)
        }


def features_of(pixels: npt.NDArray[Any]) -> dict[str, float]:
    """Statistics of the intensities, of at most about 4,096 evenly spaced pixels."""
    flat = pixels.reshape(-1)
    some = np.sort(flat[:: max(1, flat.size // 2048)]).astype(np.float64)
    if not some.size or not (math.isfinite(some[0]) and math.isfinite(some[-1])):
        return {}  # NaN is sorted to the end
    mean = float(np.add.reduce(some)) / len(some)
    away = some - mean
    told = {"intensity_mean": mean, "intensity_sd": math.sqrt(float(np.dot(away, away)) / len(some))}
    return told | _quantiles(some)


def _quantiles(ordered: npt.NDArray[np.float64]) -> dict[str, float]:
    """The 5th, 50th and 95th percentile of sorted numbers, linear between neighbours."""
    told = {}
    for name, share in (("intensity_p05", 0.05), ("intensity_p50", 0.5), ("intensity_p95", 0.95)):
        place = share * (len(ordered) - 1)
        low = int(place)
        below, above = float(ordered[low]), float(ordered[min(low + 1, len(ordered) - 1)])
        told[name] = below + (place - low) * (above - below)
    return told


def pooled(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Means of cells of the images, eight an axis (four in three dimensions): shape (n, number)."""
    pool = nn.functional.adaptive_avg_pool3d if images.ndim == 5 else nn.functional.adaptive_avg_pool2d
    size = POOLED if images.ndim == 4 else POOLED // 2
    return np.asarray(pool(torch.from_numpy(np.require(images, np.float32, ["C", "W"])), size).flatten(1).numpy())
