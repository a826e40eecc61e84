"""The receiver with honest peers: dcmtk, our own client, and its own restart."""

from __future__ import annotations

import logging
import re
import signal
import struct
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless, RLELossless

from claimed_med.dicom import net
from claimed_med.errors import InputError
from claimed_med.services import pdu
from claimed_med.services.incoming import Store
from claimed_med.services.receiver import Receiver, ReceiverSettings
from claimed_med.testing.phantoms import write_series
from claimed_med.testing.routing import wait_for
from claimed_med.testing.servers import free_port

STORED = np.random.default_rng(0).integers(0, 900, (4, 64, 64)).astype(np.uint16)
MR = "1.2.840.10008.5.1.4.1.1.4"


def node_of(receiver, **more):
    return net.Node("127.0.0.1", receiver.port, receiver.settings.aet, timeout_s=60, **more)


def body_of(path):
    """The bytes of the data set of a file."""
    content = path.read_bytes()
    return content[144 + int.from_bytes(content[140:144], "little") :]


def uid_of(path):
    return str(dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)


def kept_in(folder):
    """SOPInstanceUID -> bytes of the data set of every file."""
    return {uid_of(path): body_of(path) for path in Path(folder).rglob("*.dcm")}


# dcmtk


def test_dcmtk_stores_every_object_and_each_keeps_its_bytes(receiving, dcmtk_installed, tmp_path):
    paths = [
        *write_series(tmp_path / "a", STORED, name="a", modality="MR", syntax="implicit"),
        *write_series(tmp_path / "b", STORED, name="b"),
    ]
    told = []
    with receiving(tmp_path / "in", told.append) as receiver:
        address = ("-aec", "CLAIMED_MED", "127.0.0.1", receiver.port)
        assert dcmtk_installed("echoscu", *address)[0] == 0
        assert dcmtk_installed("storescu", "-xi", *address, *paths[:4])[0] == 0
        assert dcmtk_installed("storescu", "--propose-lossless", *address, *paths[4:])[0] == 0
    assert kept_in(tmp_path / "in") == {uid_of(path): body_of(path) for path in paths}
    assert sorted(one.sop_uid for one in told) == sorted(uid_of(path) for path in paths)
    assert all(one.path.is_file() and not one.repeated and one.calling_aet == "STORESCU" for one in told)


def test_dcmtk_is_told_what_we_do_not_do(receiving, dcmtk_installed, tmp_path):
    with receiving(tmp_path / "in") as receiver:
        code, words = dcmtk_installed(
            "findscu", "-S", "-aec", "CLAIMED_MED", "-k", "QueryRetrieveLevel=STUDY", "127.0.0.1", receiver.port
        )
        assert code != 0
        assert "No Acceptable Presentation Contexts" in words
        code, words = dcmtk_installed("echoscu", "-aec", "NOBODY", "127.0.0.1", receiver.port)
        assert code != 0
        assert "Called AE Title Not Recognized" in words


# our own client


def test_compressed_objects_arrive_as_they_are(receiving, tmp_path):
    paths = write_series(tmp_path / "a", STORED, name="a", syntax=JPEG2000Lossless)
    paths += write_series(tmp_path / "b", STORED, name="b", syntax=RLELossless)
    with receiving(tmp_path / "in") as receiver:
        assert {one.outcome for one in net.send(node_of(receiver), paths)} == {"stored"}
    assert kept_in(tmp_path / "in") == {uid_of(path): body_of(path) for path in paths}
    for path in (tmp_path / "in").rglob("*.dcm"):
        assert dcmread(path).file_meta.TransferSyntaxUID in {JPEG2000Lossless, RLELossless}


def test_a_repeat_is_known_and_other_bytes_under_its_uid_are_kept_beside_it(receiving, raw, tmp_path, files):
    told = []
    with receiving(tmp_path / "in", told.append) as receiver, raw(receiver.port) as peer:
        peer.associate()
        for pixels in (b"ab", b"ab", b"cd", b"cd"):
            command, content = raw.command(MR, "1.2.3.4"), raw.data_set(MR, "1.2.3.4", pixels=pixels)
            assert peer.store(command, content)[0] == 0
    assert [one.repeated for one in told] == [False, True, False, True]
    first, second = files(tmp_path / "in")
    assert {first, second} >= {"1.2.3/1.2.3.4.dcm"}
    assert {(tmp_path / "in" / one).read_bytes()[-2:] for one in (first, second)} == {b"ab", b"cd"}


def test_what_could_not_be_taken_on_is_not_answered_with_success(receiving, raw, tmp_path):
    failures = [OSError("the patient is PLANTED"), ValueError("PLANTED"), None]
    seen = []

    def kept(received):
        seen.append((received.repeated, received.path.is_file()))
        error = failures.pop(0)
        if error is not None:
            raise error

    with receiving(tmp_path / "in", kept) as receiver, raw(receiver.port) as peer:
        peer.associate()
        answers = [peer.store(raw.command(MR, "1.2.3.4"), raw.data_set(MR, "1.2.3.4"))[0] for _ in range(3)]
    assert answers == [0xA700, 0xA700, 0x0000]
    assert seen == [(False, True), (True, True), (True, True)]


def test_it_commits_to_what_it_has_and_to_nothing_else(receiving, tmp_path):
    paths = write_series(tmp_path / "a", STORED, name="a")
    with receiving(tmp_path / "in") as receiver:
        node = node_of(receiver)
        sent = net.send(node, paths[:3])
        wanted = [(one.sop_class_uid, one.sop_uid) for one in sent] + [(MR, "1.2.3.4.5")]
        answers = net.commit(node, wanted, timeout_s=60)
    assert answers.pop("1.2.3.4.5") == "failed (0x0112)"
    assert answers == {one.sop_uid: "committed" for one in sent}


@pytest.mark.parametrize("data", [b"", b"\xff" * 40, b"\x08\x00\x95\x11UI\x06\x001.2.3\0"])
def test_a_request_for_commitment_that_is_none_is_refused(receiving, raw, tmp_path, data):

    def element(number, value):
        return struct.pack("<HHI", 0, number, len(value)) + value

    body = element(0x0003, b"1.2.840.10008.1.20.1") + element(0x0100, b"\x30\x01") + element(0x0110, b"\x01\0")
    body += element(0x0800, b"\1\0") + element(0x1001, b"1.2.840.10008.1.20.1.1") + element(0x1008, b"\1\0")
    with receiving(tmp_path / "in") as receiver, raw(receiver.port) as peer:
        peer.associate((1, "1.2.840.10008.1.20.1", "1.2.840.10008.1.2.1"))
        peer.say(pdu.message(1, element(0, struct.pack("<I", len(body))) + body, data or b"\0", 16384))
        assert peer.status()[0] == 0x0115


def test_an_answer_of_the_peer_is_read_and_not_answered(receiving, raw, tmp_path):
    with receiving(tmp_path / "in") as receiver, raw(receiver.port) as peer:
        peer.associate()
        command = bytearray(raw.command(MR, "1.2.3.4"))
        place = command.index(struct.pack("<HHI", 0, 0x0100, 2)) + 8
        command[place : place + 2] = struct.pack("<H", 0x8100)  # N-EVENT-REPORT-RSP with a data set
        peer.say(pdu.message(1, bytes(command), b"reply ", 16384))
        assert peer.store(raw.command(MR, "1.2.3.5"), raw.data_set(MR, "1.2.3.5")) == (0, "")


# words


def test_logs_and_metrics_hold_no_word_of_the_header(receiving, raw, tmp_path, caplog):
    port = free_port()
    with caplog.at_level(logging.DEBUG), receiving(tmp_path / "in", metrics_port=port) as receiver:
        with raw(receiver.port) as peer:
            peer.associate(calling=b"PLANTED_TITLE")
            peer.store(raw.command(MR, "1.2.3.4"), raw.data_set(MR, "1.2.3.4"))
            peer.store(raw.command(MR, "1.2.3.5"), raw.data_set(MR, "PLANTED"))
            peer.store(raw.command(MR, "PLANTED"), raw.data_set(MR, "1.2.3.5"))

        def figures():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
                return answer.read().decode()

        wait_for(lambda: 'status="0xC000"' in figures())  # counted after the answer
        metrics = figures()
    assert 'claimed_med_receiver_objects_total{outcome="stored",status="0x0000"} 1.0' in metrics
    assert 'claimed_med_receiver_objects_total{outcome="refused",status="0xC000"} 1.0' in metrics
    assert re.search(r"^claimed_med_receiver_free_bytes [0-9.e+]+$", metrics, re.MULTILINE)
    assert "claimed_med_receiver_object_seconds_bucket" in metrics
    assert "object=refused" in caplog.text
    assert "PLANTED" not in caplog.text + metrics


# start and stop


def test_a_folder_has_one_receiver(receiving, tmp_path):
    with receiving(tmp_path / "in"):
        second = Receiver(ReceiverSettings(port=0), Store(tmp_path / "in"))
        with pytest.raises(InputError, match="another receiver"):
            second.start()
    with receiving(tmp_path / "in"):
        pass


def test_a_port_that_is_taken_is_named(receiving, tmp_path):
    with receiving(tmp_path / "in") as receiver:
        second = Receiver(ReceiverSettings(port=receiver.port), Store(tmp_path / "other"))
        with pytest.raises(InputError, match=f"cannot listen; got port {receiver.port}"):
            second.start()


def test_what_was_half_written_goes_at_the_next_start(receiving, tmp_path, files):
    (tmp_path / "in" / "1.2.3").mkdir(parents=True)
    for name in (".partial-1-2", "1.2.3/.partial-3-4"):
        (tmp_path / "in" / name).write_bytes(b"half")
    (tmp_path / "in" / "1.2.3" / "1.2.3.4.dcm").write_bytes(b"whole")
    with receiving(tmp_path / "in"):
        assert files(tmp_path / "in") == ["1.2.3/1.2.3.4.dcm"]


def test_an_object_on_its_way_arrives_before_the_end(receiving, raw, tmp_path, files):
    with receiving(tmp_path / "in") as receiver, raw(receiver.port) as busy, raw(receiver.port) as idle:
        busy.associate()
        idle.associate()
        command, content = raw.command(MR, "1.2.3.4"), raw.data_set(MR, "1.2.3.4", pixels=bytes(50000))
        words = pdu.message(1, command, content, 16384)
        busy.say(words[:30000])
        wait_for(lambda: list((tmp_path / "in").glob(".partial-*")))
        stopper = threading.Thread(target=receiver.stop, args=(30,))
        stopper.start()
        assert idle.pdu()[0] in {pdu.ABORT, 0}
        busy.say(words[30000:])
        assert busy.status()[0] == 0
        assert busy.pdu()[0] == pdu.ABORT
        stopper.join()
    assert files(tmp_path / "in") == ["1.2.3/1.2.3.4.dcm"]


def test_the_program_ends_cleanly_on_sigterm(raw, tmp_path):
    words = [sys.executable, "-m", "claimed_med", "net", "serve", str(tmp_path / "in"), "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        port = int(server.stdout.readline().split()[-1])
        with raw(port) as peer:
            peer.associate()
            assert peer.store(raw.command(MR, "1.2.3.4"), raw.data_set(MR, "1.2.3.4"))[0] == 0
            server.send_signal(signal.SIGTERM)
            assert peer.pdu()[0] in {pdu.ABORT, 0}
        log = server.stderr.read()
    assert server.returncode == 0
    assert "stopped" in log
    assert "Traceback" not in log
