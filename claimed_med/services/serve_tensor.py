"""Tensors in, probabilities out: V1 `:predict`, Open Inference Protocol v2 over REST and gRPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import kserve
import numpy as np
import numpy.typing as npt
from kserve.protocol.infer_type import InferOutput, InferRequest, InferResponse

from claimed_med.errors import ContractError, InputError, ModelError
from claimed_med.models.prepare import size_of
from claimed_med.prediction_log import Prediction
from claimed_med.services import serve_job
from claimed_med.services.serve_error import WHERE, Expired, TooLarge
from claimed_med.services.serve_job import Job
from claimed_med.services.serve_model import Inferred, Models, Served, features_of
from claimed_med.services.serve_record import Recorder

IMAGE, PIXELS, LABELS = "image", "pixels", "labels"
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Answer:
    """What the model says of prepared images.

    Attributes:
        served: The model that answered.
        probabilities: Shape (n, class).
        predicted: Class that each is called.
        prediction_ids: Of the record.
    """

    served: Served
    probabilities: npt.NDArray[np.float64]
    predicted: list[str]
    prediction_ids: list[str]

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """Probability of the positive class, shape (n,)."""
        bundle = self.served.bundle
        return np.asarray(self.probabilities[:, bundle.classes.index(bundle.positive)])

    def about(self) -> dict[str, Any]:
        """Which model answered."""
        told = {"model_digest": self.served.digest, "variant": self.served.variant}
        return told | ({"blessing_override": self.served.blessing.override} if self.served.blessing.override else {})


class Tensors(kserve.Model):
    """The model of kserve's server: answers tensors.

    Args:
        name: Under which it is asked for.
        models: What is served; replaced as a whole when models are swapped.
        recorder: Writes predictions down.
        max_voxels: Most numbers of a request.
    """

    def __init__(self, name: str, models: Models, recorder: Recorder, max_voxels: int) -> None:
        super().__init__(name)
        self.models, self._recorder, self._max_voxels = models, recorder, max_voxels
        self.ready = True

    def get_input_types(self) -> list[dict[str, Any]]:
        """For the metadata of the model."""
        bundle = self.models.stable.bundle
        if bundle.task == "segmentation":
            return [{"name": PIXELS, "datatype": "FP32", "shape": [-1] * bundle.dims}]
        shape = [-1, bundle.n_channels, *size_of(bundle.recipe)]
        return [{"name": IMAGE, "datatype": "FP32", "shape": shape}]

    def get_output_types(self) -> list[dict[str, Any]]:
        """For the metadata of the model."""
        bundle = self.models.stable.bundle
        if bundle.task == "segmentation":
            return [{"name": LABELS, "datatype": "UINT8", "shape": [-1] * bundle.dims}]
        return [
            {"name": "probabilities", "datatype": "FP64", "shape": [-1, len(bundle.classes)]},
            {"name": "score", "datatype": "FP64", "shape": [-1]},
            {"name": "predicted", "datatype": "BYTES", "shape": [-1]},
        ]

    async def predict(
        self, payload: Any, headers: dict[str, str] | None = None, response_headers: dict[str, str] | None = None
    ) -> Any:
        """Answer a request of the Open Inference Protocol (`InferRequest`) or of V1 (a mapping)."""
        del headers, response_headers
        if isinstance(payload, InferRequest):
            return await self._infer(payload)
        found = await self.answer(_array(payload))
        bundle = found.served.bundle
        rows = zip(found.probabilities, found.scores, found.predicted, found.prediction_ids, strict=True)
        return {
            "predictions": [
                {
                    "probabilities": dict(zip(bundle.classes, map(float, row), strict=True)),
                    "score": float(score),
                    "predicted": predicted,
                    "threshold": bundle.threshold,
                    "prediction_id": name,
                }
                for row, score, predicted, name in rows
            ],
            **found.about(),
        }

    def images_of(self, payload: Any) -> Floats:
        """The prepared images of a V1 body.

        Raises:
            ContractError: There are none, or of another shape.
        """
        return self._checked(_array(payload))

    async def answer(self, images: Floats) -> Answer:
        """Classify prepared images.

        Args:
            images: Shape (n, channel, *spatial), float32 in [0, 1].

        Raises:
            ContractError: Another shape.
            InputError: NaN or infinite values.
        """
        job = _job()
        images = self._checked(images)
        digest = digest_of(images)
        served = self.models.of(digest)
        job.told |= {"variant": served.variant, "model_digest": served.digest, "n_images": len(images)}
        inferred: Inferred = await wait_for(served.bundle.lane.submit(served.bundle.task_of(images)), job)
        if not np.isfinite(inferred.probabilities).all():
            raise ModelError(WHERE, "the model gave NaN", do="serve another one")
        rows = [_prediction(job, served, digest, images[n], inferred, n) for n in range(len(images))]
        await wait_for(self._recorder.record(rows), job)
        return Answer(
            served, inferred.probabilities, [one.decision for one in rows], [one.prediction_id for one in rows]
        )

    async def _infer(self, request: InferRequest) -> InferResponse:
        named = {one.name: one for one in request.inputs}
        if PIXELS in named:
            return await self._label(request, named[PIXELS])
        if IMAGE not in named:
            raise ContractError(WHERE, "the request has no input of a known name", allowed=f"{IMAGE}, {PIXELS}")
        given = named[IMAGE]
        if given.datatype != "FP32":
            raise ContractError(WHERE, "the input has another type", got=given.datatype, allowed="FP32")
        return self._classified(request, await self.answer(numbers(given)))

    async def _label(self, request: InferRequest, given: Any) -> InferResponse:
        """Segment a volume that comes as numbers, or classify an image that is not prepared."""
        job = _job()
        pixels = numbers(given).astype(np.float32, copy=False)
        spacing = _spacing(given.parameters, self.models.stable.bundle.dims)
        if pixels.size > self._max_voxels:
            raise TooLarge(WHERE, "the volume is larger than is taken", got=pixels.size, allowed=str(self._max_voxels))
        digest = digest_of(pixels)
        bundle = self.models.of(digest).bundle
        if bundle.task == "classification":
            image = await wait_for(asyncio.to_thread(bundle.prepare, pixels, spacing), job)
            return self._classified(request, await self.answer(image[None]))
        served = self.models.of(digest)
        job.told |= {"variant": served.variant, "model_digest": served.digest, "n_images": 1}
        if pixels.ndim != bundle.dims:
            raise InputError(WHERE, "the volume has another number of axes", got=pixels.ndim, allowed=str(bundle.dims))
        labels = await wait_for(asyncio.to_thread(bundle.label_voxels, pixels, spacing), job)
        row = _segmented(job, served, digest, labels, spacing)
        await wait_for(self._recorder.record([row]), job)
        about = {"model_digest": served.digest, "variant": served.variant, "prediction_ids": row.prediction_id}
        return _response(request, self.name, {LABELS: ("UINT8", labels)}, about)

    def _classified(self, request: InferRequest, found: Answer) -> InferResponse:
        outputs = {
            "probabilities": ("FP64", found.probabilities),
            "score": ("FP64", found.scores),
            "predicted": ("BYTES", np.array([one.encode() for one in found.predicted], dtype=np.object_)),
        }
        return _response(
            request, self.name, outputs, found.about() | {"prediction_ids": ",".join(found.prediction_ids)}
        )

    def _checked(self, images: Floats) -> Floats:
        bundle = self.models.stable.bundle
        if bundle.task != "classification":
            raise ContractError(WHERE, "this model takes volumes", allowed=f"input {PIXELS}, or DICOM")
        shape = (bundle.n_channels, *size_of(bundle.recipe))
        if images.ndim != len(shape) + 1 or tuple(images.shape[1:]) != shape or not len(images):
            raise ContractError(
                WHERE, "the images have another shape", got=images.shape, allowed=f"(n, {', '.join(map(str, shape))})"
            )
        if images.size > self._max_voxels:
            raise TooLarge(
                WHERE, "there are more pixels than are taken", got=images.size, allowed=str(self._max_voxels)
            )
        if not np.isfinite(images).all():
            raise InputError(WHERE, "pixels are NaN or infinite", do="leave this image out")
        return images


async def wait_for(work: Any, job: Job) -> Any:
    """Wait for a future or coroutine no longer than the request does.

    Raises:
        Expired: The deadline passed first.
        Cancelled: Nobody waits any more.
    """
    future = asyncio.wrap_future(work) if hasattr(work, "add_done_callback") and not asyncio.isfuture(work) else work
    try:
        return await asyncio.wait_for(future, max(0.0, job.left_s))
    except TimeoutError:
        job.cancelled.set()
        raise Expired(WHERE, "the deadline has passed", do="allow more time, or send less") from None
    except asyncio.CancelledError:
        job.cancelled.set()
        raise


def digest_of(values: npt.NDArray[Any]) -> str:
    """The sha256 of the numbers of an array."""
    whole: Any = np.ascontiguousarray(values)
    return sha256(whole.data).hexdigest()


def numbers(given: Any) -> npt.NDArray[Any]:
    """The array of an input.

    Raises:
        ContractError: Its content and its shape do not go together.
    """
    try:
        return np.asarray(given.as_numpy())
    except Exception as error:  # noqa: BLE001 - kserve and numpy raise many kinds, and quote the content
        told = type(error).__name__
        raise ContractError(WHERE, "an input's content does not fit its shape and type", got=told) from None


def _array(payload: Any) -> Floats:
    instances = payload.get("instances") if isinstance(payload, dict) else None
    if not isinstance(instances, list) or not instances:
        raise ContractError(WHERE, "the body has no instances", allowed='{"instances": [...]}')
    try:
        return np.asarray(instances, dtype=np.float32)
    except (ValueError, TypeError):
        raise ContractError(WHERE, "instances are no images of one shape", allowed="nested lists of numbers") from None


def _spacing(parameters: Any, dims: int) -> tuple[float, ...]:
    given = parameters.get("spacing_mm") if parameters else None
    text = getattr(given, "string_param", given)
    if text is None:
        return (1.0,) * dims
    try:
        found = tuple(float(one) for one in (text.split(",") if isinstance(text, str) else text))
    except (ValueError, TypeError):
        found = ()
    if len(found) != dims or not all(0 < one < 1e3 for one in found):
        raise ContractError(WHERE, "spacing_mm cannot be read", allowed=f"{dims} numbers, separated by commas")
    return found


def _job() -> Job:
    job = serve_job.current.get()
    if job is None:
        raise ContractError(WHERE, "a prediction needs a request")
    return job


def _prediction(job: Job, served: Served, digest: str, image: Floats, inferred: Inferred, number: int) -> Prediction:
    bundle, row = served.bundle, inferred.probabilities[number]
    score = float(row[bundle.classes.index(bundle.positive)])
    called = bundle.classes[int(row.argmax())]
    if len(bundle.classes) == 2:
        negative = next(one for one in bundle.classes if one != bundle.positive)
        called = bundle.positive if score >= bundle.threshold else negative
    return Prediction(
        **common(job, served),
        input_digest=digest,
        positive=bundle.positive,
        score=score,
        decision=called,
        threshold=bundle.threshold,
        probabilities=dict(zip(bundle.classes, map(float, row), strict=True)),
        embedding_kind=inferred.embedding_kind,
        embedding=inferred.embedding[number].tolist(),
        features=features_of(image),
    )


def _segmented(job: Job, served: Served, digest: str, labels: Any, spacing: Sequence[float]) -> Prediction:
    names = served.bundle.classes
    ml = float(np.prod(spacing)) / 1000.0
    volumes = {name: float((labels == number).sum()) * ml for number, name in enumerate(names, 1)}
    return Prediction(
        **common(job, served),
        input_digest=digest,
        score=float((labels > 0).mean()),
        decision=",".join(name for name, volume in volumes.items() if volume),
        probabilities=volumes,
        features=dict(job.noted.get("features", {})),
    )


def common(job: Job, served: Served) -> dict[str, Any]:
    """What every row of the record says of request and model."""
    return {
        "request_id": job.request_id,
        "at": time.time(),
        "route": job.route,
        "model": served.name,
        "model_digest": served.digest,
        "variant": served.variant,
        "override": served.blessing.override,
        "task": served.bundle.task,
        "duration_s": time.monotonic() - job.started,
    }


def _response(
    request: InferRequest, name: str, outputs: Mapping[str, tuple[str, npt.NDArray[Any]]], about: Mapping[str, Any]
) -> InferResponse:
    asked = {one.name: one.binary_data for one in request.request_outputs or ()}
    made = []
    for output, (datatype, values) in outputs.items():
        if asked and output not in asked:
            continue
        wanted = asked.get(output)
        one = InferOutput(output, list(values.shape), datatype)
        if request.from_grpc or (request.use_binary_outputs if wanted is None else wanted):
            one.set_data_from_numpy(values, binary_data=True)
        else:
            flat = values.reshape(-1).tolist()
            one.data = [item.decode() if isinstance(item, bytes) else item for item in flat]
        made.append(one)
    return InferResponse(
        request.id or "",
        name,
        made,
        parameters=dict(about),
        from_grpc=bool(request.from_grpc),
        use_binary_outputs=request.use_binary_outputs,
        requested_outputs=request.request_outputs,
    )
