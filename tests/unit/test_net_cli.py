"""`claimed-med net ...` as a user types it: against our receiver, and against Orthanc."""

from __future__ import annotations

import io
import threading
import time

import numpy as np
import pytest
from pydicom import dcmread

from claimed_med.cli import main
from claimed_med.dicom import net_node
from claimed_med.services.incoming import Store
from claimed_med.services.receiver import Receiver, ReceiverSettings
from claimed_med.testing.phantoms import write_series
from claimed_med.testing.servers import free_port

STORED = np.random.default_rng(0).integers(0, 900, (3, 32, 32)).astype(np.uint16)


@pytest.fixture
def receiver(tmp_path):
    made = Receiver(ReceiverSettings(port=0, min_free_bytes=0), Store(tmp_path / "in"))
    made.start()
    yield made
    made.stop(2)


@pytest.fixture
def here(receiver):
    return f"CLAIMED_MED@127.0.0.1:{receiver.port}"


def test_echo_says_whether_the_node_answers(here, capsys):
    assert main(["net", "echo", here]) == 0
    assert capsys.readouterr().out == "the node answers\n"
    assert main(["net", "echo", here.replace("CLAIMED_MED", "NOBODY")]) == 3
    assert "the called AE title is not known there" in capsys.readouterr().err
    assert main(["net", "echo", f"A@127.0.0.1:{free_port()}"]) == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["echo", "{}", "--ca", "authority.pem"], "net echo: --ca, --cert and --key are of TLS"),
        (["store", "{}", ".", "--cert", "c.pem", "--key", "k.pem"], "net store: --ca, --cert and --key are of TLS"),
        (["store", "{}", ".", "--listen", "127.0.0.1:11114"], "net store: --listen is of --commit"),
        (["get", "{}", "1.2.3", "--out", "out", "--listen", "127.0.0.1:11114"], "net get: --listen is of --method"),
    ],
)
def test_options_that_would_not_be_heeded_are_refused(here, words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["net", *(word.format(here) for word in words)]) == 2
    assert f"error: {told}" in capsys.readouterr().err
    assert not list((tmp_path / "in").glob("*/*.dcm"))


class _Late(threading.Event):
    """An event that its waiter hears of late, as on a busy machine."""

    def wait(self, timeout=None):
        heard = super().wait(timeout)
        time.sleep(0.3)
        return heard


def test_a_rejection_is_told_though_the_connection_has_ended_before_we_look(here, monkeypatch, capsys):
    class Busy(net_node._Socket):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self._ready = _Late()

    monkeypatch.setattr(net_node, "_Socket", Busy)
    assert main(["net", "echo", here.replace("CLAIMED_MED", "NOBODY")]) == 3
    assert "the called AE title is not known there" in capsys.readouterr().err


def test_a_folder_is_stored_and_the_node_commits_to_it(here, tmp_path, capsys):
    paths = write_series(tmp_path / "out", STORED, name="a")
    (tmp_path / "out" / "readme.txt").write_text("no DICOM")
    assert main(["net", "store", here, str(tmp_path / "out"), "--commit"]) == 0
    assert capsys.readouterr().out == "3 stored, 0 failed, 1 other files\n3 committed\n"
    assert len(list((tmp_path / "in").glob("*/*.dcm"))) == len(paths)


def test_what_fails_is_named_by_its_uid_and_the_others_are_stored(here, receiver, tmp_path, capsys):
    paths = write_series(tmp_path / "out", STORED, name="a")
    bad = dcmread(paths[1])
    bad.StudyInstanceUID = "not a uid"
    bad.save_as(paths[1])
    assert main(["net", "store", here, str(tmp_path / "out")]) == 7
    told = capsys.readouterr()
    assert told.out.startswith("2 stored, 1 failed")
    assert f"failed: {bad.SOPInstanceUID}: status 0xC000" in told.err


def test_de_identified_objects_do_not_leave_by_this_door(here, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CLAIMED_MED_SECRET", "a secret of more than sixteen bytes")
    write_series(tmp_path / "source", STORED, name="a")
    made = tmp_path / "made"
    assert main(["run", "deidentify-dicom", "--files", str(tmp_path / "source"), "--out", str(made)]) == 0
    capsys.readouterr()
    assert main(["net", "store", here, str(made / "deidentified")]) == 6
    assert "use store-deidentified" in capsys.readouterr().err
    assert main(["net", "store", here, str(made)]) == 6
    assert not list((tmp_path / "in").glob("*/*.dcm"))


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["serve", "{}", "--host", "0.0.0.0"], 2),  # noqa: S104 - that is what must be refused
        (["serve", "{}", "--allow-address", "nowhere"], 2),
        (["serve", "{}", "--port", "0", "--tls"], 3),
        (["serve", "{}", "--port", "70000"], 3),
    ],
)
def test_a_receiver_that_must_not_or_cannot_start_says_so(words, code, tmp_path, capsys):
    assert main(["net", *(word.format(tmp_path / "in") for word in words)]) == code
    assert capsys.readouterr().err.startswith("error: receiver")


def test_find_and_get_from_orthanc(archive_server, tmp_path, capsys, monkeypatch):
    node = f"{archive_server.aet}@127.0.0.1:{archive_server.dicom_port}"
    paths = write_series(tmp_path / "out", STORED, name="found by the command line", modality="MR")
    assert main(["net", "store", node, str(tmp_path / "out")]) == 0
    source = dcmread(paths[0])
    study, name = source.StudyInstanceUID, str(source.PatientName)
    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", io.StringIO(f"StudyInstanceUID={study}\n"))
    assert main(["net", "find", node, "-"]) == 0
    told = capsys.readouterr()
    assert told.out.split() == [study, "MR", "1", "series", "3", "instances"]
    assert not name or name not in told.out + told.err
    assert main(["net", "get", node, study, "--out", str(tmp_path / "back")]) == 0
    assert capsys.readouterr().out == "3 objects of 3; 0 refused\n"
    for path in paths:
        sent = dcmread(path)
        assert dcmread(tmp_path / "back" / f"{sent.SOPInstanceUID}.dcm").PixelData == sent.PixelData
