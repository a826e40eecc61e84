from __future__ import annotations

import os
import signal

import pytest

from claimed_med.workers import WorkerDied, map_tasks, n_cores


def double(number):
    if number == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 14:
        os._exit(3)
    return 2 * number, os.environ["OMP_NUM_THREADS"]


@pytest.mark.parametrize("fork", ["0", "1"])
def test_every_task_has_a_result_whatever_happens_to_its_worker(fork, monkeypatch):
    monkeypatch.setenv("CLAIMED_MED_FORK", fork)
    results = dict(map_tasks(double, [1, 13, 2, 14, 3], n_workers=2, n_threads=1))
    assert [results[index][0] for index in (0, 2, 4)] == [2, 4, 6]
    assert isinstance(results[1], WorkerDied)
    assert (results[1].signal, results[3].signal) == ("SIGKILL", "")


def test_workers_get_the_threads_of_the_component_not_of_the_machine(monkeypatch):
    monkeypatch.setenv("CLAIMED_MED_FORK", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    assert [result[1] for _, result in map_tasks(double, [1], n_workers=1, n_threads=3)] == ["3"]


def test_the_number_of_workers_can_be_set(monkeypatch):
    monkeypatch.setenv("CLAIMED_MED_WORKERS", "5")
    assert n_cores() == 5
