from __future__ import annotations

import threading

from claimed_med.engines.slots import Slots


def test_a_task_of_two_threads_waits_for_both_cores():
    slots, order = Slots(2), []
    entered, leave = threading.Event(), threading.Event()

    def small():
        with slots.taken(1):
            entered.set()
            leave.wait(60)
            order.append("small")

    def large():
        with slots.taken(2):
            order.append("large")

    first = threading.Thread(target=small)
    first.start()
    entered.wait(60)
    second = threading.Thread(target=large)
    second.start()
    second.join(0.1)
    assert order == []
    leave.set()
    for one in (first, second):
        one.join(60)
    assert order == ["small", "large"]


def test_more_than_there_are_is_all_of_them():
    slots = Slots(2)
    with slots.taken(16):
        assert slots._free == 0
    assert slots._free == 2
