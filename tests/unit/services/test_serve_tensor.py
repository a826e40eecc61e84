"""A request goes through the threads and comes back, however fast the model is."""

from __future__ import annotations

import asyncio
import time

from claimed_med.blessing import NONE, Blessing
from claimed_med.handles import ModelBundle
from claimed_med.prediction_log import PredictionLog
from claimed_med.services import serve_job
from claimed_med.services.serve_job import Job
from claimed_med.services.serve_lane import Lane
from claimed_med.services.serve_model import LaneBundle, Models, Served
from claimed_med.services.serve_record import Recorder
from claimed_med.services.serve_tensor import Tensors
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
