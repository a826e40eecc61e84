"""Records are in the database before anybody is told; those that come together are written together."""

from __future__ import annotations

import asyncio
import threading

import pytest

from claimed_med.errors import OutputError
from claimed_med.prediction_log import Prediction, PredictionLog
from claimed_med.services.serve_error import DiskFull
from claimed_med.services.serve_record import Recorder


class Slow(PredictionLog):
    """Writes when it may, and counts the transactions."""

    def __init__(self, path):
        super().__init__(path)
        self.go, self.writes, self.fails = threading.Event(), [], False
        self.begun = threading.Event()

    def append(self, predictions):
        rows = list(predictions)
        self.begun.set()
        assert self.go.wait(30)
        self.writes.append(len(rows))
        if self.fails:
            raise OutputError("prediction-log", "the disk is full")
        super().append(rows)


@pytest.fixture
def log(tmp_path):
    return Slow(str(tmp_path / "predictions.sqlite"))


def _held(recorder, log, n):
    """One that is being written, and n that wait meanwhile; all of their futures."""
    found = []
    first = threading.Thread(target=lambda: found.append(recorder.record(lambda: [Prediction(at=0.0)])))
    first.start()
    assert log.begun.wait(30)
    waiting = [recorder.record(lambda at=float(n): [Prediction(at=at)]) for n in range(1, n + 1)]
    assert not any(one.done() for one in waiting)
    log.go.set()
    first.join(30)
    return [*found, *waiting]


def test_what_comes_while_it_writes_is_one_transaction(log, tmp_path):
    recorder = Recorder(log)
    futures = _held(recorder, log, 5)
    assert [one.result(30)[0].at for one in futures] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert log.writes == [1, 5]
    recorder.close()
    other = PredictionLog(str(tmp_path / "predictions.sqlite"))
    assert [one.at for one in other.read()] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    other.close()


def test_who_is_told_finds_the_record_in_the_database(tmp_path):
    path = str(tmp_path / "predictions.sqlite")
    recorder, reader = Recorder(PredictionLog(path)), PredictionLog(path)
    for number in range(20):
        (row,) = recorder.record(lambda at=float(number): [Prediction(at=at)]).result(30)
        assert [one.prediction_id for one in reader.read(since=float(number))] == [row.prediction_id]
    recorder.close()
    reader.close()


def test_none_is_lost_when_many_threads_write_at_once_and_it_closes(tmp_path):
    path = str(tmp_path / "predictions.sqlite")
    recorder, done = Recorder(PredictionLog(path)), []

    def write(start):
        done.extend(recorder.record(lambda at=float(n): [Prediction(at=at)]) for n in range(start, start + 50))

    threads = [threading.Thread(target=write, args=(1000 * number,)) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    recorder.close()
    ids = {one.result(0)[0].prediction_id for one in done}
    log = PredictionLog(path)
    assert {one.prediction_id for one in log.read()} == ids
    assert len(ids) == 400
    log.close()


def test_a_full_disk_refuses_all_that_was_written_together_and_nothing_after(log):
    log.fails = True
    recorder = Recorder(log)
    futures = _held(recorder, log, 3)
    assert all(isinstance(one.exception(30), DiskFull) for one in futures)
    log.fails = False
    assert recorder.record(lambda: [Prediction(at=1.0)]).result(30)
    recorder.close()


def test_one_that_cannot_be_made_keeps_no_other_out(log):
    log.go.set()
    recorder = Recorder(log)

    def fail():
        raise ValueError

    bad, good = recorder.record(fail), recorder.record(lambda: [Prediction(at=1.0)])
    assert isinstance(bad.exception(30), ValueError)
    assert good.result(30)[0].at == 1.0
    recorder.close()


def test_who_gives_up_waiting_ends_no_recording(log):
    recorder, held = Recorder(log), []
    first = threading.Thread(target=lambda: held.append(recorder.record(lambda: [Prediction(at=0.0)])), daemon=True)
    first.start()
    assert log.begun.wait(30)
    waiting = recorder.record(lambda: [Prediction(at=1.0)])

    async def give_up():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(waiting), 0.01)

    asyncio.run(give_up())
    log.go.set()
    first.join(30)
    assert waiting.result(30)[0].at == 1.0
    assert recorder.record(lambda: [Prediction(at=2.0)]).result(30)
    recorder.close()
