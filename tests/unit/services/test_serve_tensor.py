"""A request goes through the threads and comes back, however fast the model is."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

from claimed_med.blessing import NONE, Blessing
from claimed_med.errors import ContractError
from claimed_med.handles import ModelBundle
from claimed_med.prediction_log import PredictionLog
from claimed_med.services import serve_job
from claimed_med.services.serve_error import Expired
from claimed_med.services.serve_job import Job
from claimed_med.services.serve_lane import Lane, Task
from claimed_med.services.serve_model import LaneBundle, Models, Served
from claimed_med.services.serve_record import Recorder
from claimed_med.services.serve_tensor import PIXELS, Tensors, digest_of
from claimed_med.services.serve_v2 import Input, Request
from claimed_med.testing.serving import classifier, prepared


class Fast(Lane):
    """Has computed a task before `submit` is back."""

    def submit(self, task):
        future = super().submit(task)
        future.result(30)
        return future


def test_a_model_that_is_faster_than_its_caller_is_answered_and_recorded(tmp_path):
    handle = ModelBundle(classifier(tmp_path / "bundle"))
    lane, log = Fast(1, 8, 8), PredictionLog(str(tmp_path / "predictions.sqlite"))
    bundle = LaneBundle.over(handle.load(), lane)
    served = Served("model", "stable", tmp_path, bundle, handle, None, Blessing(NONE, override="a test"))
    recorder = Recorder(log)
    tensors = Tensors("model", Models(served), recorder, 1 << 20)

    async def ask():
        serve_job.current.set(Job("v2", time.monotonic() + 60))
        return await asyncio.wait_for(tensors.answer(prepared(0)), 60)

    found = asyncio.run(ask())
    (row,) = log.read()
    assert found.prediction_ids == [row.prediction_id]
    assert found.probabilities.tolist() == handle.load().probabilities(prepared(0)).tolist()
    lane.close()
    recorder.close()


class Counting(PredictionLog):
    """Counts the rows of each transaction."""

    def append(self, predictions):
        rows = list(predictions)
        self.sizes = [*getattr(self, "sizes", []), len(rows)]
        super().append(rows)


def test_what_is_computed_together_is_recorded_in_one_transaction(tmp_path):
    handle = ModelBundle(classifier(tmp_path / "bundle"))
    lane, log, go = Lane(1, 8, 8), Counting(str(tmp_path / "predictions.sqlite")), threading.Event()
    bundle = LaneBundle.over(handle.load(), lane)
    served = Served("model", "stable", tmp_path, bundle, handle, None, Blessing(NONE, override="a test"))
    recorder = Recorder(log)
    tensors = Tensors("model", Models(served), recorder, 1 << 20)

    async def ask():
        serve_job.current.set(Job("v2", time.monotonic() + 60))
        lane.submit(Task(lambda _: [go.wait(30)], None))
        waiting = [asyncio.create_task(tensors.answer(prepared(seed))) for seed in range(4)]
        while len(lane._tasks) < 4:  # noqa: ASYNC110 - a queue of threads has no event for it
            await asyncio.sleep(0.001)
        go.set()
        return await asyncio.wait_for(asyncio.gather(*waiting), 60)

    found = asyncio.run(ask())
    assert log.sizes == [4]
    assert {one.prediction_ids[0] for one in found} == {one.prediction_id for one in log.read()}
    lane.close()
    recorder.close()


def test_who_waits_past_the_deadline_is_told_and_is_not_recorded(tmp_path):
    with _two(tmp_path, 0) as (tensors, log):
        go, job = threading.Event(), Job("v2", time.monotonic() + 0.2)
        tensors.models.stable.bundle.lane.submit(Task(lambda _: [go.wait(30)], None))

        async def ask():
            serve_job.current.set(job)
            await tensors.answer(prepared(0))

        with pytest.raises(Expired):
            asyncio.run(ask())
        go.set()
        tensors.models.stable.bundle.lane.close()  # all that was in the queue has been looked at
        assert job.cancelled.is_set()
        assert log.read() == []


@contextmanager
def _two(tmp_path, percent):
    """A stable model and a canary that differ in weights; both with a lane, and a record."""
    lane, log = Lane(1, 1, 8), PredictionLog(str(tmp_path / "predictions.sqlite"))
    recorder, made = Recorder(log), []
    for seed, variant in enumerate(("stable", "canary")):
        handle = ModelBundle(classifier(tmp_path / variant, seed=seed))
        bundle = LaneBundle.over(handle.load(), lane)
        made.append(Served("model", variant, tmp_path, bundle, handle, None, Blessing(NONE, override="a test")))
    yield Tensors("model", Models(*made, percent), recorder, 1 << 20), log
    lane.close()
    recorder.close()


def _ask(tensors, pixels, wanted=None):
    job = Job("v2", time.monotonic() + 60)

    async def ask():
        serve_job.current.set(job)
        given = Input(PIXELS, "FP32", pixels.shape, pixels.tobytes())
        return await asyncio.wait_for(tensors.infer(Request("", {PIXELS: given}, wanted or {})), 60)

    return (*asyncio.run(ask()), job)


def test_what_cannot_be_given_is_not_recorded(tmp_path):
    pixels = np.random.default_rng(0).random((70, 80), dtype=np.float32)
    with _two(tmp_path, 0) as (tensors, log):
        with pytest.raises(ContractError, match="no such output; allowed probabilities, score, predicted"):
            _ask(tensors, pixels, {"labels": True})
        assert log.read() == []
        _ask(tensors, pixels, {"score": True})
        assert len(log.read()) == 1


def test_with_a_canary_the_model_that_prepares_an_image_is_the_one_that_scores_it(tmp_path):
    with _two(tmp_path, 50) as (tensors, log):
        models, variants, n_others = tensors.models, set(), 0
        for seed in range(12):
            pixels = np.random.default_rng(seed).random((70, 80), dtype=np.float32)
            expected = models.of(digest_of(pixels))
            outputs, about, job = _ask(tensors, pixels)
            image = expected.bundle.prepare(pixels, (1.0, 1.0))[None]
            assert about["variant"] == expected.variant == job.told["variant"]
            assert about["model_digest"] == expected.digest
            np.testing.assert_allclose(outputs["probabilities"][1], expected.bundle.probabilities(image), atol=1e-5)
            variants.add(expected.variant)
            n_others += models.of(digest_of(image)) is not expected
        assert variants == {"stable", "canary"}
        assert n_others  # the prepared image alone would have gone to the other one
        assert [one.variant for one in log.read()].count("canary") in range(1, 12)


def test_a_swap_between_preparing_and_scoring_changes_nothing_for_that_request(tmp_path):
    with _two(tmp_path, 0) as (tensors, _):
        before = tensors.models
        old, new = before.stable.bundle, before.canary
        plain = old.prepare

        def prepare(pixels, spacing):
            image = plain(pixels, spacing)
            tensors.models = Models(new)
            return image

        old.prepare = prepare
        _, about, _ = _ask(tensors, np.random.default_rng(0).random((70, 80), dtype=np.float32))
        assert tensors.models.stable is new
        assert about["model_digest"] == before.stable.digest != new.digest
