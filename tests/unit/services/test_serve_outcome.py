"""What becomes of work that another thread does."""

from __future__ import annotations

import threading

import pytest

from claimed_med.services.serve_outcome import Outcome


def test_all_that_wait_get_the_result():
    outcome, found = Outcome(), []
    threads = [threading.Thread(target=lambda: found.append(outcome.result(30))) for _ in range(4)]
    for one in threads:
        one.start()
    assert not outcome.done()
    outcome.set_result(7)
    for one in threads:
        one.join(30)
    assert found == [7] * 4
    assert outcome.done()
    assert outcome.exception(0) is None


def test_an_error_is_raised_where_the_result_is_asked_for():
    outcome = Outcome()
    outcome.set_exception(KeyError("a"))
    assert isinstance(outcome.exception(), KeyError)
    with pytest.raises(KeyError):
        outcome.result()


def test_who_waits_too_long_is_told_and_may_ask_again():
    outcome = Outcome()
    with pytest.raises(TimeoutError):
        outcome.result(0.001)
    with pytest.raises(TimeoutError):
        outcome.exception(-1.0)
    outcome.set_result(None)
    assert outcome.result(0) is None


def test_it_is_handed_over_before_those_that_wait_go_on_and_a_failure_there_keeps_nobody_waiting():
    seen = []

    def on_done(one):
        seen.append((one.done(), one.result()))
        raise RuntimeError

    outcome = Outcome(on_done)
    outcome.set_result(7)
    assert seen == [(True, 7)]
    assert outcome.result(0) == 7


def test_what_is_settled_stays_as_it_is_and_nobody_is_told_again():
    told = []
    outcome = Outcome(lambda one: told.append(one.result()))
    outcome.set_result(7)
    for again in (lambda: outcome.set_result(8), lambda: outcome.set_exception(KeyError("a"))):
        with pytest.raises(RuntimeError):
            again()
    assert told == [7]
    assert outcome.result(0) == 7
