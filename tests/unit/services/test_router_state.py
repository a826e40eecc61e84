from __future__ import annotations

import sqlite3

import pytest

from claimed_med.errors import InputError
from claimed_med.services.router_state import Arrival, State


@pytest.fixture
def state(tmp_path):
    made = State(tmp_path / "state.sqlite")
    yield made
    made.close()


def arrival(number, study="1.2.3", **changes):
    given = {"study_uid": study, "series_uid": "1.2.4", "sop_uid": f"1.5.{number}", "name": f"1.5.{number}.dcm"}
    return Arrival(**{**given, **changes})


def walk(state, *states, study="1.2.3", **changes):
    for one in states:
        assert state.move(state.study(study), one, **changes)
    return state.study(study)


def states(state, study="1.2.3"):
    return [(one["version"], one["state"]) for one in state.history(study)]


def test_a_first_object_makes_a_study(state):
    assert state.note([arrival(1), arrival(2), arrival(1, study="1.9")]) == {"1.2.3", "1.9"}
    assert [(one.study_uid, one.state, one.version) for one in state.studies()] == [
        ("1.2.3", "received", 1),
        ("1.9", "received", 1),
    ]
    assert state.objects(state.study("1.2.3")) == {"1.2.4": ["1.5.1.dcm", "1.5.2.dcm"]}


def test_a_repeat_is_counted_and_changes_nothing(state):
    state.note([arrival(1)])
    walk(state, "complete", "running", "stored")
    assert state.note([arrival(1, repeated=True), arrival(1, repeated=True)]) == set()
    assert state.study("1.2.3").state == "stored"
    assert state.totals()["repeats_received"] == 2


def test_other_bytes_under_a_known_uid_are_kept_out(state):
    state.note([arrival(1)])
    walk(state, "complete", "running", "stored")
    state.note([arrival(1, name="1.5.1.0123456789ab.dcm")])
    assert state.study("1.2.3").state == "stored"
    assert state.objects(state.study("1.2.3")) == {"1.2.4": ["1.5.1.dcm"]}
    assert state.totals()["conflicts"] == 1


@pytest.mark.parametrize("end", ["stored", "failed", "quarantined"])
def test_an_object_that_comes_late_opens_the_study_again(state, end):
    state.note([arrival(1)])
    walk(state, "complete", "running", end)
    state.note([arrival(2)])
    again = state.study("1.2.3")
    assert (again.version, again.state, again.tries, again.reason) == (2, "received", 0, "")
    assert state.objects(again) == {"1.2.4": ["1.5.1.dcm", "1.5.2.dcm"]}
    assert states(state) == [(1, "received"), (1, "complete"), (1, "running"), (1, end), (2, "received")]


def test_an_object_that_comes_during_the_run_waits_for_its_end(state):
    state.note([arrival(1)])
    running = walk(state, "complete", "running")
    state.note([arrival(2)])
    assert state.study("1.2.3") == running
    assert state.objects(running) == {"1.2.4": ["1.5.1.dcm"]}
    waiting = walk(state, "complete")  # a try failed
    state.note([arrival(3)])
    assert state.study("1.2.3") == waiting
    again = walk(state, "running", "stored")
    assert (again.version, again.state) == (2, "received")
    assert len(state.objects(again)["1.2.4"]) == 3


def test_an_object_before_work_began_joins(state):
    state.note([arrival(1)])
    walk(state, "complete")
    state.note([arrival(2)])
    joined = state.study("1.2.3")
    assert (joined.version, joined.state) == (1, "received")


def test_who_judged_an_older_study_changes_nothing(state):
    state.note([arrival(1)])
    judged = state.study("1.2.3")
    state.note([arrival(2)])
    assert not state.move(judged, "complete")
    assert state.study("1.2.3").state == "received"


def test_sends_and_repeats_are_counted(state):
    assert state.open_deliveries("1.2.3", "pacs", ["1", "2"]) == {"1": 0, "2": 0}
    state.sending("1.2.3", "pacs", ["1", "2"])
    state.sent("1.2.3", "pacs", {"1": "", "2": "status 0xA700"})
    assert state.open_deliveries("1.2.3", "pacs", ["1", "2"]) == {"2": 1}
    state.sending("1.2.3", "pacs", ["2"])
    state.sent("1.2.3", "pacs", {"2": ""})
    expected = {"destination": "pacs", "objects": 2, "stored": 2, "sends": 3, "repeats": 1}
    assert state.deliveries("1.2.3") == [expected]
    assert state.totals()["deliveries"] == [expected]


def test_everything_is_there_after_a_start(state, tmp_path):
    state.note([arrival(1)])
    walk(state, "complete", "running", words="x")
    state.close()
    again = State(tmp_path / "state.sqlite")
    try:
        assert again.take_up() == ["1.2.3"]
        assert again.study("1.2.3").state == "complete"
        assert again.known_names() == {"1.2.3": {"1.5.1.dcm"}}
    finally:
        again.close()


def test_only_what_failed_can_be_retried(state):
    state.note([arrival(1)])
    with pytest.raises(InputError, match="cannot be tried again; got received"):
        state.retry("1.2.3")
    with pytest.raises(InputError, match="got unknown"):
        state.retry("9.9")
    walk(state, "complete", "running", "failed", tries=5)
    assert (state.retry("1.2.3").state, state.study("1.2.3").tries) == ("received", 0)


def test_a_foreign_file_is_refused(tmp_path):
    (tmp_path / "noise").write_bytes(b"no database at all" * 100)
    with pytest.raises(InputError, match="damaged, or no state file"):
        State(tmp_path / "noise")
    base = sqlite3.connect(tmp_path / "later.sqlite")
    base.execute("PRAGMA user_version=9")
    base.close()
    with pytest.raises(InputError, match="another version; got 9"):
        State(tmp_path / "later.sqlite")


def test_the_file_is_in_wal_mode_and_fully_synchronous(state):
    assert state._rows("PRAGMA journal_mode")[0][0] == "wal"
    assert state._rows("PRAGMA synchronous")[0][0] == 2
