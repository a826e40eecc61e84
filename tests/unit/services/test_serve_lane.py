"""The thread that computes: in order, together what is of one kind, never what nobody wants."""

from __future__ import annotations

import threading
import time

import pytest

from claimed_med.services.serve_error import Busy, Cancelled, Expired
from claimed_med.services.serve_job import Job
from claimed_med.services.serve_lane import Lane, Task
from claimed_med.services.serve_outcome import Outcome


@pytest.fixture
def lane():
    made = Lane(1, 4, 8)
    yield made
    made.close()


@pytest.fixture
def held(lane):
    """A function that lets the lane go on; until then it works on one task."""
    go = threading.Event()
    lane.submit(Task(lambda content: [go.wait(30) for _ in content], None))
    while lane._tasks:
        time.sleep(0.001)
    yield go.set
    go.set()


def _is_second_idle(lane):
    with lane._lock:
        return len(lane._idle) == 1 and not lane._n_coming


def _job(seconds=60.0):
    return Job("v2", time.monotonic() + seconds)


def test_what_waits_is_computed_together_as_far_as_it_fits(lane, held):
    sizes = []

    def run(contents):
        sizes.append(len(contents))
        return contents

    futures = [lane.submit(Task(run, number, "kind")) for number in range(6)]
    held()
    assert [one.result(30) for one in futures] == list(range(6))
    assert sizes == [4, 2]


def test_other_kinds_are_computed_apart(lane, held):
    sizes = []

    def run(contents):
        sizes.append(len(contents))
        return contents

    futures = [lane.submit(Task(run, number, kind)) for number, kind in enumerate(["a", "b", None, None])]
    held()
    assert [one.result(30) for one in futures] == [0, 1, 2, 3]
    assert sizes == [1, 1, 1, 1]


def test_a_full_queue_says_so(lane, held):
    for _ in range(8):
        lane.submit(Task(list, 0))
    with pytest.raises(Busy, match="queue is full"):
        lane.submit(Task(list, 0))
    held()


def test_late_and_unwanted_tasks_are_not_computed(lane, held):
    done = []

    def run(contents):
        done.extend(contents)
        return contents

    late, gone = _job(0.0), _job()
    gone.cancelled.set()
    futures = [
        lane.submit(Task(run, name, "kind", job=job))
        for name, job in (("late", late), ("gone", gone), ("fine", _job()))
    ]
    held()
    assert futures[2].result(30) == "fine"
    assert isinstance(futures[0].exception(30), Expired)
    assert isinstance(futures[1].exception(30), Cancelled)
    assert done == ["fine"]


def test_one_that_fails_in_a_batch_fails_alone(lane, held):
    def run(contents):
        if "bad" in contents:
            raise ValueError
        return contents

    futures = [lane.submit(Task(run, name, "kind")) for name in ("a", "bad", "b")]
    held()
    assert (futures[0].result(30), futures[2].result(30)) == ("a", "b")
    assert isinstance(futures[1].exception(30), ValueError)


def test_what_waits_is_done_before_it_closes():
    lane = Lane(1, 1, 8)
    futures = [lane.submit(Task(lambda contents: contents, number)) for number in range(4)]
    lane.close()
    assert [one.result(0) for one in futures] == [0, 1, 2, 3]


def test_it_closes_while_tasks_that_stand_alone_wait_for_each_other():
    lane, go = Lane(1, 1, 8, n_workers=2), threading.Event()
    alone = [lane.submit(Task(lambda contents: [go.wait(30) for _ in contents], number)) for number in range(2)]
    while len(lane._tasks) > 1 or not _is_second_idle(lane):
        time.sleep(0.001)
    closing = threading.Thread(target=lane.close, daemon=True)
    closing.start()
    while not lane._closed or not _is_second_idle(lane):  # woken by that, and waiting again
        time.sleep(0.001)
    go.set()
    closing.join(30)
    assert not closing.is_alive()
    assert [one.result(0) for one in alone] == [True, True]


def test_a_result_that_comes_when_the_waiting_ends_is_given(lane):
    class Late(Outcome):
        def _wait(self, timeout):
            super()._wait(None)
            if timeout is not None and not self.waited:
                self.waited = True
                raise TimeoutError

        waited = False

    task = Task(lambda contents: contents, "result", outcome=Late(), job=_job())
    assert lane.call(task) == "result"
    assert task.outcome.waited


def test_threads_that_are_free_share_what_waits():
    lane, go, sizes = Lane(1, 8, 64, n_workers=2), threading.Event(), []
    for number in range(2):
        lane.submit(Task(lambda contents: [go.wait(30) for _ in contents], number, f"held {number}"))
    while lane._tasks:
        time.sleep(0.001)

    def run(contents):
        sizes.append(len(contents))
        return contents

    futures = [lane.submit(Task(run, number, "kind")) for number in range(8)]
    go.set()
    assert [one.result(30) for one in futures] == list(range(8))
    assert sum(sizes) == 8
    lane.close()


def test_tasks_that_stand_alone_are_never_computed_at_once_and_hold_no_other_up():
    lane, go, inside, most = Lane(1, 1, 64, n_workers=3), threading.Event(), [], []

    def alone(contents):
        inside.append(1)
        most.append(len(inside))
        assert go.wait(30)
        inside.pop()
        return contents

    volumes = [lane.submit(Task(alone, number)) for number in range(3)]
    image = lane.submit(Task(lambda contents: contents, "image", "kind"))
    assert image.result(30) == "image"
    assert not volumes[1].done()
    go.set()
    assert [one.result(30) for one in volumes] == [0, 1, 2]
    assert most == [1, 1, 1]
    lane.close()
