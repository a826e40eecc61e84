"""The router with a real archive; objects are put into its store as the receiver does it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal

import psutil
import pytest
from pydicom import dcmread

from claimed_med.dicom.web import Archive
from claimed_med.errors import InputError
from claimed_med.services import router_delivery
from claimed_med.services.incoming import Received
from claimed_med.services.router import STATE, Router, running
from claimed_med.services.router_rules import read
from claimed_med.services.router_state import State
from claimed_med.testing import orthanc, phantoms
from claimed_med.testing.routing import wait_for
from claimed_med.testing.servers import free_port

RULES = """
[router]
attempts = 2
first_pause_s = 0.1
[destination.pacs]
url = "{url}"
[[rule]]
name = "chest"
when = 'Modality == "CT"'
forward = ["pacs"]
complete = {{ quiet_s = 0.3 }}
{more}
"""


def book(url, more="", **complete):
    made = read(RULES.format(url=url, more=more))
    first = dataclasses.replace(made.rules[0], complete=dataclasses.replace(made.rules[0].complete, **complete))
    return dataclasses.replace(made, rules=(first, *made.rules[1:]))


def put(router, path):
    """What the receiver does with one object."""
    header = dcmread(path, stop_before_pixels=True)
    uids = [str(header[f"{level}InstanceUID"].value) for level in ("SOP", "Series", "Study")]
    place, repeated = router.store.keep(uids[2], uids[0], path.read_bytes())
    router.kept(Received(place, *uids, str(header.SOPClassUID), "SCANNER", repeated))
    return uids[2]


def put_all(router, paths):
    """The same with a study; the router looks at it when all of it is there, however slow this disk is."""
    with router.state._lock:
        return [put(router, path) for path in paths].pop()


def wait(router, study, wanted, version=1):
    """The study as soon as that version of it is in that state."""

    def found():
        now = router.state.study(study)
        return now if now is not None and (now.version, now.state) == (version, wanted) else None

    return wait_for(found)


@pytest.fixture
def study(tmp_path, request):
    """Files of a study of its own for every test."""
    return phantoms.write_series(tmp_path / "sent", phantoms.chest_values((4, 32, 32)), name=request.node.name)


@pytest.fixture
def archive(archive_server):
    with Archive(archive_server.dicomweb_url) as made:
        yield made


def nowhere():
    """The address of a service that is down."""
    return "http://127.0.0.1:9/dicom-web"


def test_a_study_is_forwarded_as_it_came(archive, study, tmp_path):
    with running(Router(book(archive.url), tmp_path / "home")) as router:
        uid = put_all(router, [*study, study[0]])
        wait(router, uid, "stored")
        totals = router.state.totals()
    assert (totals["objects"], totals["repeats_received"]) == (4, 1)
    assert totals["deliveries"] == [{"destination": "pacs", "objects": 4, "stored": 4, "sends": 4, "repeats": 0}]
    back = {path.read_bytes() for path in archive.retrieve(uid, tmp_path / "back")}
    assert back == {path.read_bytes() for path in study}


def test_history_tells_every_step(archive, study, tmp_path):
    with running(Router(book(archive.url), tmp_path / "home")) as router:
        uid = put_all(router, study)
        wait(router, uid, "stored")
        told = [one["state"] for one in router.state.history(uid)]
    assert told == ["received", "complete", "running", "stored"]


def test_an_object_that_comes_late_opens_a_new_version_and_only_it_goes_out(archive, study, tmp_path):
    with running(Router(book(archive.url), tmp_path / "home")) as router:
        uid = put_all(router, study[:3])
        wait(router, uid, "stored")
        put(router, study[3])
        wait(router, uid, "stored", version=2)
        (sent,) = router.state.deliveries(uid)
    assert (sent["stored"], sent["sends"]) == (4, 4)
    assert len(archive.instances(uid)) == 4


def test_the_bytes_that_came_first_are_those_in_the_archive(archive, study, tmp_path):
    first = study[0].read_bytes()
    with running(Router(book(archive.url), tmp_path / "home")) as router:
        uid = put_all(router, study)
        other = dcmread(study[0])
        other.PixelData = bytes(len(other.PixelData))
        other.save_as(study[0])
        put(router, study[0])
        wait_for(lambda: router.state.totals()["conflicts"] == 1)
        wait(router, uid, "stored")
        put(router, study[0])
        wait_for(lambda: router.state.totals()["repeats_received"] == 1)
        assert router.state.totals()["conflicts"] == 1
    back = {path.stem: path.read_bytes() for path in archive.retrieve(uid, tmp_path / "back")}
    assert back[str(other.SOPInstanceUID)] == first


def test_objects_that_were_kept_but_not_taken_down_are_found_at_the_start(archive, study, tmp_path):
    router = Router(book(archive.url), tmp_path / "home")
    uid = put_all(router, study)
    router._lock.close()  # as after a kill: nothing of the queue was written
    router.state.close()
    with running(Router(book(archive.url), tmp_path / "home")) as again:
        wait(again, uid, "stored")
    assert len(archive.instances(uid)) == 4


def test_an_archive_that_is_down_is_tried_again_then_the_study_has_failed_and_can_be_retried(archive, study, tmp_path):
    with running(Router(book(nowhere()), tmp_path / "home")) as router:
        uid = put_all(router, study)
        failed = wait(router, uid, "failed")
        words = [one["words"] for one in router.state.history(uid)]
    assert failed.tries == 2
    assert "pacs" in failed.reason
    assert "try 1: pacs: " in "".join(words)
    with running(Router(book(archive.url), tmp_path / "home")) as router:
        router.state.retry(uid)
        wait(router, uid, "stored")
    assert len(archive.instances(uid)) == 4


def test_what_the_archive_has_already_is_not_sent(archive, study, tmp_path):
    archive.store(study[:2])
    with running(Router(book(archive.url), tmp_path / "home")) as router:
        uid = put_all(router, study)
        wait(router, uid, "stored")
        (sent,) = router.state.deliveries(uid)
    assert (sent["stored"], sent["sends"]) == (4, 2)


def test_a_dicom_node_is_asked_and_served_too(archive_server, archive, study, tmp_path):
    made = book(archive.url)
    node = f"{archive_server.aet}@127.0.0.1:{archive_server.dicom_port}"
    place = dataclasses.replace(made.destinations["pacs"], url="", node=node)
    archive.store(study[:1])
    with running(Router(dataclasses.replace(made, destinations={"pacs": place}), tmp_path / "home")) as router:
        uid = put_all(router, study)
        wait(router, uid, "stored")
        (sent,) = router.state.deliveries(uid)
    assert (sent["stored"], sent["sends"]) == (4, 3)
    assert len(archive.instances(uid)) == 4


REQUIRED = ('Modality == "CT" and NumberOfSlices >= 4',)


def test_a_study_is_whole_as_soon_as_the_required_series_is_there(archive, study, tmp_path):
    made = book(archive.url, quiet_s=0.0, required=REQUIRED)
    with running(Router(made, tmp_path / "home")) as router:
        uid = put_all(router, study[:3])
        wait_for(lambda: "missing" in getattr(router.state.study(uid), "reason", ""))
        assert router.state.study(uid).state == "received"
        put(router, study[3])
        wait(router, uid, "stored")


def test_an_incomplete_study_is_processed_when_the_rule_says_so(archive, study, tmp_path):
    made = book(archive.url, required=REQUIRED, patience_s=0.5, on_incomplete="process")
    with running(Router(made, tmp_path / "home")) as router:
        uid = put_all(router, study[:3])
        wait(router, uid, "stored")
        told = [one["words"] for one in router.state.history(uid)]
    assert "processed incomplete" in "".join(told)
    assert len(archive.instances(uid)) == 3


def test_an_incomplete_study_is_discarded_when_the_rule_says_so(archive, study, tmp_path):
    made = book(archive.url, required=REQUIRED, patience_s=0.5, on_incomplete="discard")
    with running(Router(made, tmp_path / "home")) as router:
        uid = put_all(router, study[:3])
        assert "discarded as incomplete" in wait(router, uid, "quarantined").reason
    assert archive.instances(uid) == []


def test_a_study_that_no_rule_wants_is_quarantined_with_the_reasons(archive, tmp_path):
    (path,) = phantoms.write_series(tmp_path / "mr", phantoms.chest_values((1, 32, 32)), name="no rule", modality="MR")
    with running(Router(book(archive.url), tmp_path / "home")) as router:
        reason = wait(router, put(router, path), "quarantined").reason
    assert reason == 'no rule matches: chest: Modality == "CT" is wanted; it is MR'


def test_two_routers_in_one_folder_are_refused(archive, tmp_path):
    with running(Router(book(archive.url), tmp_path / "home")), pytest.raises(InputError, match="another router"):
        Router(book(archive.url), tmp_path / "home")
    with running(Router(book(archive.url), tmp_path / "home")):
        pass


RESULTS = 'component = "{}"\ntake = ["{}"]\nresults = ["pacs"]\n'


def test_a_component_runs_and_its_results_are_found_in_the_archive(archive, study, tmp_path):
    made = book(archive.url, RESULTS.format("normalize-orientation", "oriented"))
    with running(Router(made, tmp_path / "home")) as router:
        uid = put_all(router, study)
        wait(router, uid, "stored")
        (sent,) = router.state.deliveries(uid)
    assert len(archive.instances(uid)) == sent["stored"] == 8


def test_data_that_a_component_refuses_are_quarantined_at_once(archive, study, tmp_path):
    made = book(archive.url, RESULTS.format("segment-brain", "segmentation"))
    with running(Router(made, tmp_path / "home")) as router:
        uid = put_all(router, study)
        assert wait(router, uid, "quarantined").tries == 1
    assert len(archive.instances(uid)) == 4


def test_de_identified_objects_do_not_leave_without_a_decision(archive, study, tmp_path, monkeypatch):
    monkeypatch.setenv("CLAIMED_MED_SECRET", "a secret of more than sixteen bytes")
    made = book(archive.url, RESULTS.format("deidentify-dicom", "deidentified"))
    made = dataclasses.replace(made, rules=(dataclasses.replace(made.rules[0], forward=()),))
    n_before = len(archive.query({}))
    with running(Router(made, tmp_path / "home")) as router:
        uid = put_all(router, study)
        assert "no decision lets go" in wait(router, uid, "quarantined").reason
    assert len(archive.query({})) == n_before


def test_state_holds_no_patient_attribute(archive, study, tmp_path):
    with running(Router(book(archive.url), tmp_path / "home")) as router:
        wait(router, put_all(router, study), "stored")
    for file in (tmp_path / "home").glob("*.*"):
        content = file.read_bytes()
        assert not [word for word in phantoms.PLANTED.values() if word.encode() in content]


def test_a_study_waits_for_a_required_series_for_as_long_as_it_takes(archive, study, tmp_path):
    made = book(archive.url, required=REQUIRED, patience_s=0.2)
    with running(Router(made, tmp_path / "home")) as router:
        uid = put_all(router, study[:3])
        wait_for(lambda: "as long as it takes" in getattr(router.state.study(uid), "reason", ""))
        assert router.state.study(uid).state == "received"
        put(router, study[3])
        wait(router, uid, "stored")


def test_an_object_that_cannot_be_read_quarantines_the_study_and_all_others_are_forwarded(archive, study, tmp_path):
    with running(Router(book(archive.url), tmp_path / "home")) as router:
        uid = put_all(router, study)
        place, _ = router.store.keep(uid, "1.2.3", b"no object at all" * 20)
        router.kept(Received(place, "1.2.3", "1.2", uid, "1.2", "SCANNER", repeated=False))
        assert "1 received objects cannot be read" in wait(router, uid, "quarantined").reason
    assert len(archive.instances(uid)) == 4


def test_an_archive_that_is_killed_gets_everything_when_it_is_back(orthanc_installed, study, tmp_path):
    port, home = free_port(), tmp_path / "archive"
    made = book(f"http://127.0.0.1:{port}/dicom-web")
    made = dataclasses.replace(made, work=dataclasses.replace(made.work, attempts=1000, longest_pause_s=0.5))
    with running(Router(made, tmp_path / "home")) as router:
        with orthanc.orthanc(home, dicom=False, port=port) as server:
            uid = put_all(router, study[:2])
            wait(router, uid, "stored")
            os.kill(server.pid, signal.SIGKILL)
            put_all(router, study[2:])
            wait_for(lambda: router.state.study(uid).tries >= 2)
        with orthanc.orthanc(home, dicom=False, port=port), Archive(made.destinations["pacs"].url) as archive:
            wait(router, uid, "stored", version=2)
            assert len(archive.instances(uid)) == 4


def test_a_run_that_is_stopped_goes_on_at_the_next_start(archive, study, tmp_path):
    made = book(archive.url, RESULTS.format("normalize-orientation", "oriented"))
    with running(Router(made, tmp_path / "home")) as router:
        uid = put_all(router, study)
        wait_for(lambda: list((tmp_path / "home").glob("runs/*/v1/run/run.log")))
    state = State(tmp_path / "home" / STATE)
    assert state.study(uid).state == "running"
    state.close()
    with running(Router(made, tmp_path / "home")) as router:
        wait(router, uid, "stored")
    assert len(archive.instances(uid)) == 8


def child_of_run(component):
    """The process of this one that runs a component."""
    for one in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # it ended, or is a zombie
            if component in one.cmdline():
                return one
    return None


def test_a_run_that_is_killed_is_tried_again(archive, study, tmp_path):
    made = book(archive.url, RESULTS.format("normalize-orientation", "oriented"))
    with running(Router(made, tmp_path / "home")) as router:
        uid = put_all(router, study)
        wait_for(lambda: child_of_run("normalize-orientation")).kill()
        wait(router, uid, "stored")
        told = " ".join(one["words"] for one in router.state.history(uid))
    assert "try 1: the run was killed by SIGKILL" in told
    assert len(archive.instances(uid)) == 8


def test_what_was_stored_long_ago_is_removed_and_still_known(archive, study, tmp_path):
    made = book(archive.url)
    made = dataclasses.replace(made, work=dataclasses.replace(made.work, keep_days=1e-9))
    with running(Router(made, tmp_path / "home")) as router:
        uid = put_all(router, study)
        wait(router, uid, "stored")
    with running(Router(made, tmp_path / "home")) as router:
        wait_for(lambda: not (router.store.folder / uid).exists())
        put_all(router, study)  # again: it is known, and not sent once more
        router._take_down()
        assert router.state.study(uid).state == "stored"
        assert router.state.deliveries(uid)[0]["sends"] == 4


class Refusing:
    """A node that answers, and refuses every object."""

    def present(self, objects):
        return {one.sop_uid for one in objects} & set()

    def send(self, objects):
        return {one.sop_uid: "status 0x0122" for one in objects}


def test_what_a_destination_refuses_is_given_up_sooner_than_one_that_does_not_answer(study, tmp_path, monkeypatch):
    monkeypatch.setattr(router_delivery, "door", lambda _: Refusing())
    made = book(nowhere())
    made = dataclasses.replace(made, work=dataclasses.replace(made.work, attempts=1000, refusals=2))
    with running(Router(made, tmp_path / "home")) as router:
        failed = wait(router, put_all(router, study), "failed")
    assert (failed.tries, failed.refusals) == (2, 2)
    assert "4 of 4 objects are not there: status 0x0122" in failed.reason


def test_a_study_whose_outcome_could_not_be_written_is_taken_up_again(archive, study, tmp_path, monkeypatch):
    with running(Router(book(archive.url), tmp_path / "home")) as router:
        move, broken = router.state.move, []

        def fail_once(changed, state, *words, **changes):
            if state == "stored" and not broken:
                broken.append(state)
                raise OSError
            return move(changed, state, *words, **changes)

        monkeypatch.setattr(router.state, "move", fail_once)
        uid = put_all(router, study)
        wait(router, uid, "stored")
        told = [one["words"] for one in router.state.history(uid)]
    assert "its outcome could not be written; once more" in told
    assert len(archive.instances(uid)) == 4


def test_what_arrived_though_its_answer_was_lost_is_not_sent_again(archive, study, tmp_path, monkeypatch):
    send, lost = router_delivery.Web.send, []

    def send_and_lose(door, objects):
        outcomes = send(door, objects)
        if not lost:
            lost.append(outcomes)
            raise InputError("test", "the answer is lost")
        return outcomes

    monkeypatch.setattr(router_delivery.Web, "send", send_and_lose)
    with running(Router(book(archive.url), tmp_path / "home")) as router:
        uid = put_all(router, study)
        wait(router, uid, "stored")
        (sent,) = router.state.deliveries(uid)
    assert (sent["stored"], sent["sends"], sent["repeats"]) == (4, 4, 0)
    assert (tmp_path / "home").stat().st_mode & 0o077 == 0


class Forgetful:
    """A destination that says that it took everything, and has nothing."""

    def present(self, objects):
        return {one.sop_uid for one in objects} & set()

    def send(self, objects):
        return {one.sop_uid: "" for one in objects}


def test_a_destination_is_believed_only_when_it_has_what_it_took(study, tmp_path, monkeypatch):
    monkeypatch.setattr(router_delivery, "door", lambda _: Forgetful())
    with running(Router(book(nowhere()), tmp_path / "home")) as router:
        uid = put_all(router, study)
        assert "it was taken, but is not found there" in wait(router, uid, "failed").reason
