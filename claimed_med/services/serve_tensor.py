"""Tensors in, probabilities out: V1 `:predict`, Open Inference Protocol v2 over REST and gRPC."""

from __future__ import annotations

import asyncio
import math
import time
from array import array
from collections.abc import Awaitable, Mapping, Sequence
from hashlib import sha256
from itertools import chain
from typing import Any, NamedTuple, TypeVar

import kserve
import numpy as np
import numpy.typing as npt

from claimed_med.errors import ContractError, InputError, ModelError
from claimed_med.prediction_log import Prediction
from claimed_med.services import serve_job
from claimed_med.services.serve_error import WHERE, Expired, TooLarge
from claimed_med.services.serve_job import Job
from claimed_med.services.serve_model import Inferred, Models, Served, features_of
from claimed_med.services.serve_outcome import Outcome
from claimed_med.services.serve_record import Recorder, Rows
from claimed_med.services.serve_v2 import Input, Outputs, Request

IMAGE, PIXELS, LABELS = "image", "pixels", "labels"
Floats = npt.NDArray[np.float32]
T = TypeVar("T")
_Told = tuple[str, list[dict[str, float]]]  # digest of the input, and statistics of each image


class Answer(NamedTuple):
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
        return np.asarray(self.probabilities[:, self.served.place])


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
        shape = [-1, *self.models.stable.shape]
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
        """Answer a body of V1."""
        del headers, response_headers
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
            **found.served.about,
        }

    def images_of(self, payload: Any, served: Served) -> Floats:
        """The prepared images of a V1 body, for a model.

        Raises:
            ContractError: There are none, or of another shape.
        """
        return self._checked(_array(payload), served)

    async def answer(self, images: Floats, served: Served | None = None) -> Answer:
        """Classify prepared images.

        Args:
            images: Shape (n, channel, *spatial), float32 in [0, 1].
            served: The model that prepared them; by default the one for these images.

        Raises:
            ContractError: Another shape.
            InputError: NaN or infinite values.
        """
        job, models = _job(), self.models
        images, digest = self._checked(images, served or models.stable), ""
        if served is None:
            digest = digest_of(images) if models.canary is not None else ""
            served = models.of(digest)
        job.told |= {**served.about, "n_images": len(images)}
        done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._begin(done, job, served, digest, images)
        return await settled(done, job)

    def _begin(self, done: asyncio.Future[Answer], job: Job, served: Served, digest: str, images: Floats) -> None:
        """Through the threads without coming back in between: computed, recorded, and only then here again."""
        loop = asyncio.get_running_loop()
        told: Outcome[_Told] = Outcome()

        def tell(result: Any, error: BaseException | None) -> None:
            loop.call_soon_threadsafe(_settle, done, result, error)

        def on_computed(computed: Outcome[Inferred]) -> None:
            if error := computed.exception():
                tell(None, error)
            elif not job.cancelled.is_set():  # what nobody waits for is not given, and not recorded as given
                inferred = computed.result()

                def on_recorded(rows: Rows, error: BaseException | None) -> None:
                    names = [one.decision for one in rows], [one.prediction_id for one in rows]
                    tell(Answer(served, inferred.probabilities, *names) if error is None else None, error)

                self._recorder.put(lambda: _rows(job, served, told.result(), inferred), on_recorded)

        task = served.bundle.task_of(images)
        task.outcome, task.after = Outcome(on_computed), self._recorder.flush  # those of a batch are written together
        served.bundle.lane.submit(task)
        try:  # while the model computes
            told.set_result((digest or digest_of(images), [features_of(one) for one in images]))
        except BaseException as error:
            told.set_exception(error)
            raise

    async def infer(self, request: Request) -> tuple[Outputs, dict[str, str]]:
        """Answer a request of the Open Inference Protocol: outputs, and what is told of them."""
        if request.wanted:  # before anything is computed and recorded that could not be given
            request.check([one["name"] for one in self.get_output_types()])
        if given := request.inputs.get(PIXELS):
            return await self._label(given)
        given = request.inputs.get(IMAGE)
        if given is None:
            raise ContractError(WHERE, "the request has no input of a known name", allowed=f"{IMAGE}, {PIXELS}")
        if given.datatype != "FP32":
            raise ContractError(WHERE, "the input has another type", got=given.datatype, allowed="FP32")
        return _classified(await self.answer(given.array()))

    async def _label(self, given: Input) -> tuple[Outputs, dict[str, str]]:
        """Segment a volume that comes as numbers, or classify an image that is not prepared."""
        job = _job()
        pixels = np.require(given.array(), np.float32, ["C", "W"])  # a message cannot be written to; transforms may
        if pixels.size > self._max_voxels:
            raise TooLarge(WHERE, "the volume is larger than is taken", got=pixels.size, allowed=str(self._max_voxels))
        digest = digest_of(pixels)
        served = self.models.of(digest)  # once: what prepares is what answers
        bundle = served.bundle
        spacing = _spacing(given.parameters, bundle.dims)
        if bundle.task == "classification":
            image = await within(asyncio.to_thread(bundle.prepare, pixels, spacing), job)
            return _classified(await self.answer(image[None], served))
        job.told |= {**served.about, "n_images": 1}
        if pixels.ndim != bundle.dims:
            raise InputError(WHERE, "the volume has another number of axes", got=pixels.ndim, allowed=str(bundle.dims))
        labels = await within(asyncio.to_thread(bundle.label_voxels, pixels, spacing), job)
        row = _segmented(job, served, digest, labels, spacing)
        written = await asyncio.to_thread(self._recorder.record, lambda: [row])
        await within(asyncio.wrap_future(written), job)
        return {LABELS: ("UINT8", labels)}, {**served.about, "prediction_ids": row.prediction_id}

    def _checked(self, images: Floats, served: Served) -> Floats:
        bundle = served.bundle
        if bundle.task != "classification":
            raise ContractError(WHERE, "this model takes volumes", allowed=f"input {PIXELS}, or DICOM")
        shape = served.shape
        if images.shape[1:] != shape or not len(images):
            raise ContractError(
                WHERE, "the images have another shape", got=images.shape, allowed=f"(n, {', '.join(map(str, shape))})"
            )
        if images.size > self._max_voxels:
            raise TooLarge(
                WHERE, "there are more pixels than are taken", got=images.size, allowed=str(self._max_voxels)
            )
        least, most = np.minimum.reduce(images, axis=None), np.maximum.reduce(images, axis=None)
        if not (math.isfinite(least) and math.isfinite(most)):  # NaN is both of them
            raise InputError(WHERE, "pixels are NaN or infinite", do="leave this image out")
        return images


async def within(work: Awaitable[Any], job: Job) -> Any:
    """Wait no longer than the request does.

    Raises:
        Expired: The deadline passed first.
        Cancelled: Nobody waits any more.
    """
    try:
        async with asyncio.timeout(max(0.0, job.left_s)):
            return await work
    except TimeoutError:
        job.cancelled.set()
        raise Expired(WHERE, "the deadline has passed", do="allow more time, or send less") from None
    except asyncio.CancelledError:
        job.cancelled.set()
        raise


async def settled(done: asyncio.Future[T], job: Job) -> T:
    """Wait for a future that can be given up: as `within`, in one timer."""
    loop = asyncio.get_running_loop()
    timer = loop.call_later(max(0.0, job.left_s), _expire, done)
    try:
        return await done
    except (asyncio.CancelledError, Expired):
        job.cancelled.set()
        raise
    finally:
        timer.cancel()


def _expire(done: asyncio.Future[Any]) -> None:
    _settle(done, None, Expired(WHERE, "the deadline has passed", do="allow more time, or send less"))


def _settle(done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if done.done():
        return
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(result)


def digest_of(values: npt.NDArray[Any]) -> str:
    """The sha256 of the numbers of an array."""
    whole: Any = np.ascontiguousarray(values)
    return sha256(whole.data).hexdigest()


def _array(payload: Any) -> Floats:
    instances = payload.get("instances") if isinstance(payload, dict) else None
    if not isinstance(instances, list) or not instances:
        raise ContractError(WHERE, "the body has no instances", allowed='{"instances": [...]}')
    try:
        return np.asarray(instances, dtype=np.float32)
    except (ValueError, TypeError):
        raise ContractError(WHERE, "instances are no images of one shape", allowed="nested lists of numbers") from None


def _spacing(parameters: Mapping[str, Any], dims: int) -> tuple[float, ...]:
    text = parameters.get("spacing_mm")
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


def _classified(found: Answer) -> tuple[Outputs, dict[str, str]]:
    names = np.empty(len(found.predicted), dtype=np.object_)
    names[:] = [one.encode() for one in found.predicted]
    outputs = {
        "probabilities": ("FP64", found.probabilities),
        "score": ("FP64", found.scores),
        "predicted": ("BYTES", names),
    }
    return outputs, found.served.about | {"prediction_ids": ",".join(found.prediction_ids)}


def _rows(job: Job, served: Served, told: _Told, inferred: Inferred) -> Rows:
    probabilities = inferred.probabilities.tolist()
    if not all(map(math.isfinite, chain.from_iterable(probabilities))):
        raise ModelError(WHERE, "the model gave NaN", do="serve another one")
    about = {**common(job, served), "input_digest": told[0]}
    return [
        _prediction(about, served, features, row, inferred, number)
        for number, (row, features) in enumerate(zip(probabilities, told[1], strict=True))
    ]


def _prediction(
    about: dict[str, Any], served: Served, features: dict[str, float], row: list[float], inferred: Inferred, number: int
) -> Prediction:
    bundle, score = served.bundle, row[served.place]
    called = bundle.classes[row.index(max(row))]
    if len(row) == 2:
        called = bundle.positive if score >= bundle.threshold else bundle.classes[1 - served.place]
    return Prediction(
        **about,
        positive=bundle.positive,
        score=score,
        decision=called,
        threshold=bundle.threshold,
        probabilities=dict(zip(bundle.classes, row, strict=True)),
        embedding_kind=inferred.embedding_kind,
        embedding=array("f", inferred.embedding[number].tobytes()),
        features=features,
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
        "request_id": job.written_id,
        "at": time.time(),
        "route": job.route,
        "model": served.name,
        "model_digest": served.digest,
        "variant": served.variant,
        "override": served.blessing.override,
        "task": served.bundle.task,
        "duration_s": time.monotonic() - job.started,
    }
