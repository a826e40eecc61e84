"""The DIMSE client against real peers: Orthanc, dcmtk, and servers of pynetdicom that misbehave on purpose."""

from __future__ import annotations

import gc
import logging
import socket
import struct
import subprocess
import threading
import time
import warnings
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
import trustme
from pydicom import Dataset, dcmread
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    MRImageStorage,
    RLELossless,
)
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as Find
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as Get
from pynetdicom.transport import AssociationSocket

from claimed_med.dicom import net, net_commit, net_component, net_node
from claimed_med.dicom.net_node import listener
from claimed_med.dicom.net_retrieve import SYNTAXES
from claimed_med.dicom.net_tls import client_context, server_context
from claimed_med.errors import ContractError, InputError
from claimed_med.testing.orthanc import orthanc
from claimed_med.testing.phantoms import write_series
from claimed_med.testing.routing import wait_for
from claimed_med.testing.servers import free_port

STORED = np.random.default_rng(0).integers(0, 900, (4, 64, 64)).astype(np.uint16)
PLANTED = "PLANTED"


@pytest.fixture(scope="module")
def archive(orthanc_installed, tmp_path_factory):
    """An Orthanc with a native MR and a J2K CT study, that knows where we listen: (node, port, source files)."""
    folder, port = tmp_path_factory.mktemp("archive"), free_port()
    with orthanc(folder / "orthanc", modalities={"CLAIMED_MED": port}) as server:
        node = net.Node.parse(f"{server.aet}@127.0.0.1:{server.dicom_port}", timeout_s=60)
        paths = write_series(folder / "mr", STORED, name="mr", modality="MR")
        paths += write_series(folder / "ct", STORED[:3], name="ct", syntax=JPEG2000Lossless)
        assert {one.outcome for one in net.send(node, paths)} == {"stored"}
        yield node, port, [dcmread(path) for path in paths]


@contextmanager
def scp(classes, *, syntaxes=(ExplicitVRLittleEndian, ImplicitVRLittleEndian), handlers=(), aet="PEER", **server):
    """A server of pynetdicom on loopback: (node for it, its entity)."""
    entity = AE(ae_title=aet)
    for sop_class in (*classes, Verification):
        entity.add_supported_context(sop_class, list(syntaxes), scu_role=True, scp_role=True)
    entity.require_called_aet = True
    running = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=list(handlers), **server)
    try:
        yield net.Node("127.0.0.1", running.server_address[1], aet, timeout_s=30), entity
    finally:
        running.shutdown()
        entity.shutdown()
        with warnings.catch_warnings():  # the test's own server leaves sockets of peers that went to the collector
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


class Box:
    """What arrived at a server: SOPInstanceUID -> bytes; `status` decides what it answers."""

    def __init__(self, status=lambda _uid: 0x0000):
        self.objects, self.status, self.n_seen = {}, status, 0

    def handler(self):
        return (evt.EVT_C_STORE, self._take)

    def _take(self, event):
        uid = str(event.request.AffectedSOPInstanceUID)
        self.n_seen += 1
        answer = self.status(uid)
        if answer == 0x0000:
            self.objects[uid] = event.encoded_dataset(include_meta=False)
        return answer


def uid_of(path):
    return str(dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)


def body_of(path):
    """The bytes of the data set of a file."""
    content = path.read_bytes()
    return content[144 + int.from_bytes(content[140:144], "little") :]


# addresses


@pytest.mark.parametrize(
    ("text", "host", "port", "aet", "secure"),
    [
        ("PACS@archive.example:11112", "archive.example", 11112, "PACS", False),
        ("tls:THE PACS@10.0.0.1:104", "10.0.0.1", 104, "THE PACS", True),
        ("PACS@[::1]:4242", "::1", 4242, "PACS", False),
    ],
)
def test_an_address_is_read_whole(text, host, port, aet, secure):
    node = net.Node.parse(text)
    assert (node.host, node.port, node.aet, node.tls is not None) == (host, port, aet, secure)


@pytest.mark.parametrize(
    "text", ["", "PACS", "PACS@host", "@host:1", "A@host:0", "A@host:70000", "A\\B@host:1", "ABCDEFGHIJKLMNOPQ@host:1"]
)
def test_what_is_no_address_is_refused_without_being_shown(text):
    with pytest.raises(ContractError) as error:
        net.Node.parse(text)
    assert "host:1" not in str(error.value).replace("host and a port of 1-", "").replace("@host:port", "")


@pytest.mark.parametrize("text", ["../../etc/passwd", "1.2/../3", "1.2.3.", "", "1" * 65, "1.02.3", "1.2\n3", "1..2"])
def test_what_is_no_uid_never_becomes_a_file_name(text):
    with pytest.raises(InputError):
        net.check_uid(text)


def test_a_filter_that_is_no_attribute_is_refused_without_its_value():
    with pytest.raises(ContractError) as error:
        net.parse_query("PatientNam=SECRETSURNAME")
    assert "SECRETSURNAME" not in str(error.value)


def test_a_node_does_not_show_where_it_is():
    assert "hospital" not in repr(net.Node.parse("PACS@hospital.example:104"))


# Orthanc


def test_orthanc_answers_an_echo(archive):
    assert net_component.echo_status(archive[0]) == {"answers": True, "finding": "", "permanent": False}


def test_find_tells_what_dcmtk_finds(archive, dcmtk_installed):
    node, _, sources = archive
    found = {one.study_uid: one for one in net.find(node, {"ModalitiesInStudy": "CT"})}
    program = ["/usr/bin/findscu", "-S", "-aec", node.aet, "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID"]
    told = subprocess.run(
        [*program, "-k", "ModalitiesInStudy=CT", "127.0.0.1", str(node.port)],
        capture_output=True,
        check=True,
        text=True,
    )
    study = sources[-1].StudyInstanceUID
    assert set(found) == {study}
    assert study in told.stdout + told.stderr
    assert sources[0].StudyInstanceUID not in told.stdout + told.stderr
    assert (found[study].modalities, found[study].n_series, found[study].n_instances) == (("CT",), 1, 3)


def test_find_stops_at_the_limit(archive):
    assert len(list(net.find(archive[0], {}))) == 2
    assert len(list(net.find(archive[0], {}, limit=1))) == 1


def test_get_brings_every_object_as_it_was_sent(archive, tmp_path):
    node, _, sources = archive
    fetched = net.get(node, {one.StudyInstanceUID for one in sources}, tmp_path)
    assert (fetched.n_expected, fetched.missing, fetched.n_refused) == (7, (), 0)
    assert {path.name for path in tmp_path.iterdir()} == {f"{one.SOPInstanceUID}.dcm" for one in sources}
    for source in sources:
        got = dcmread(tmp_path / f"{source.SOPInstanceUID}.dcm")
        assert got.file_meta.TransferSyntaxUID == source.file_meta.TransferSyntaxUID
        assert got == source


def test_get_goes_on_where_it_stopped(archive, tmp_path):
    node, _, sources = archive
    study = sources[0].StudyInstanceUID
    first = net.get(node, [study], tmp_path)
    first.files[0].unlink()
    again = net.get(node, [study], tmp_path)
    assert again.files == first.files
    written = {path: path.stat().st_mtime_ns for path in again.files}  # stat: all of them are there
    assert net.get(node, [study], tmp_path).files == first.files
    assert {path: path.stat().st_mtime_ns for path in again.files} == written


def test_move_brings_every_object_to_our_receiver(archive, tmp_path):
    node, port, sources = archive
    fetched = net.move(node, {one.StudyInstanceUID for one in sources}, tmp_path, listen=("127.0.0.1", port))
    assert fetched.missing == ()
    for source in sources:
        assert dcmread(tmp_path / f"{source.SOPInstanceUID}.dcm").PixelData == source.PixelData


def test_a_study_that_nobody_knows_is_an_error(archive, tmp_path):
    with pytest.raises(InputError, match=r"no such study; got 1\.2\.3\.4"):
        net.get(archive[0], ["1.2.3.4"], tmp_path)


def test_orthanc_commits_to_what_it_has_and_to_nothing_else(archive):
    node, port, sources = archive
    wanted = [(one.SOPClassUID, one.SOPInstanceUID) for one in sources] + [(CTImageStorage, "1.2.3.4")]
    answers = net.commit(node, wanted, listen=("127.0.0.1", port), timeout_s=60)
    assert answers.pop("1.2.3.4") == "failed (0x0112)"
    assert set(answers.values()) == {"committed"}
    assert len(answers) == len(sources)


# sending


def test_dcmtk_gets_the_very_bytes_of_each_data_set(dcmtk_installed, tmp_path):
    paths = [
        *write_series(tmp_path / "a", STORED[:2], name="a", modality="MR", syntax="implicit"),
        *write_series(tmp_path / "b", STORED[:2], name="b", syntax=RLELossless),
    ]
    inbox, port = tmp_path / "in", free_port()
    inbox.mkdir()
    words = ["/usr/bin/storescp", "-aet", "DCMTK", "+xa", "+B", "-od", str(inbox), str(port)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            node = net.Node("127.0.0.1", port, "DCMTK", timeout_s=30)
            results = net.send(node, paths, attempts=10, pause_s=0.1)
        finally:
            server.terminate()
    assert [one.outcome for one in results] == ["stored"] * 4
    received = {uid_of(path): body_of(path) for path in inbox.iterdir()}
    assert received == {uid_of(path): body_of(path) for path in paths}


def test_a_node_without_a_codec_gets_the_same_pixels_uncompressed(tmp_path):
    paths = write_series(tmp_path / "a", STORED, name="a", syntax=JPEG2000Lossless)
    box = Box()
    with scp([CTImageStorage], handlers=[box.handler()]) as (node, _):
        assert {one.outcome for one in net.send(node, paths)} == {"stored"}
    shape = STORED.shape[1:]
    for path in paths:
        raw = box.objects[uid_of(path)]
        sent = dcmread(path)
        assert sent.file_meta.TransferSyntaxUID == JPEG2000Lossless
        assert raw.endswith(sent.pixel_array.astype("<u2").tobytes())
        assert sent.pixel_array.shape == shape


def test_a_lossy_object_that_is_not_accepted_so_stays_at_home(tmp_path):
    paths = write_series(tmp_path / "a", STORED[:2], name="a")
    lossy = dcmread(paths[1])
    lossy.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    lossy.PixelData = b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\x04\0\0\0\xff\xd8\xff\xd9\xfe\xff\xdd\xe0\0\0\0\0"
    lossy["PixelData"].VR = "OB"
    lossy["PixelData"].is_undefined_length = True
    lossy.save_as(paths[1])
    box = Box()
    with scp([CTImageStorage], handlers=[box.handler()]) as (node, _):
        first, second = net.send(node, paths)
    assert (first.outcome, second.outcome) == ("stored", "failed")
    assert "transfer syntax" in second.reason
    assert list(box.objects) == [first.sop_uid]


def test_one_refused_object_is_named_and_the_others_are_sent(tmp_path):
    paths = write_series(tmp_path / "a", STORED, name="a")
    bad = uid_of(paths[1])
    box = Box(lambda uid: 0xC123 if uid == bad else 0x0000)
    with scp([CTImageStorage], handlers=[box.handler()]) as (node, _):
        results = net.send(node, paths)
    assert [one.outcome for one in results] == ["stored", "failed", "stored", "stored"]
    assert (results[1].sop_uid, results[1].status, results[1].reason) == (bad, 0xC123, "status 0xC123")
    assert box.n_seen == len(paths)  # a refusal for good is not tried again


def test_a_node_short_of_space_is_tried_again(tmp_path):
    paths = write_series(tmp_path / "a", STORED, name="a")
    answers = iter([0x0000, 0xA700, 0xA700])
    box = Box(lambda _uid: next(answers, 0x0000))
    with scp([CTImageStorage], handlers=[box.handler()]) as (node, _):
        results = net.send(node, paths, pause_s=0.05)
    assert {one.outcome for one in results} == {"stored"}
    assert len(box.objects) == len(paths)


def test_a_class_that_the_node_does_not_take_fails_alone(tmp_path):
    paths = write_series(tmp_path / "a", STORED[:1], name="a", modality="MR")
    paths += write_series(tmp_path / "b", STORED[:1], name="b")
    box = Box()
    with scp([CTImageStorage], handlers=[box.handler()]) as (node, _):
        results = net.send(node, paths)
    assert [one.outcome for one in results] == ["failed", "stored"]
    assert "SOP class" in results[0].reason


def test_files_that_are_no_dicom_are_told_apart_without_their_names(tmp_path):
    junk = tmp_path / "SURNAME^First.txt"
    junk.write_text("no DICOM at all, only text\n" * 20)
    box = Box()
    with scp([CTImageStorage], handlers=[box.handler()]) as (node, _):
        results = net.send(node, [junk, *write_series(tmp_path / "a", STORED[:1], name="a")])
    assert [(one.outcome, one.reason) for one in results] == [("failed", "NotDicom"), ("stored", "")]


def test_a_server_gone_in_the_middle_loses_nothing_when_it_returns(tmp_path):
    paths = write_series(tmp_path / "a", STORED, name="a")
    port, box, gone = free_port(), Box(), threading.Event()

    def take(event):
        if box.n_seen == 2 and not gone.is_set():
            gone.set()
            event.assoc.abort()
        return box._take(event)

    def start():
        entity = AE(ae_title="PEER")
        entity.add_supported_context(CTImageStorage)
        return entity, entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, take)])

    entity, running = start()
    timer = None

    def again():
        nonlocal entity, running
        entity, running = start()

    def stop():
        nonlocal timer
        gone.wait(60)
        running.shutdown()
        timer = threading.Timer(0.5, again)
        timer.start()

    stopper = threading.Thread(target=stop)
    stopper.start()
    try:
        results = net.send(net.Node("127.0.0.1", port, "PEER", timeout_s=30), paths, attempts=9, pause_s=0.3)
    finally:
        stopper.join()
        timer.join()
        running.shutdown()
        entity.shutdown()
    assert gone.is_set()
    assert {one.outcome for one in results} == {"stored"}
    assert set(box.objects) == {uid_of(path) for path in paths}


def test_a_server_that_never_returns_is_a_result_for_every_file(tmp_path):
    paths = write_series(tmp_path / "a", STORED[:2], name="a")
    node = net.Node("127.0.0.1", free_port(), "PEER", timeout_s=2)
    results = net.send(node, paths, attempts=2, pause_s=0.05)
    assert [(one.outcome, one.status, one.reason) for one in results] == [
        ("failed", -1, "no connection to the node")
    ] * 2
    assert [one.sop_uid for one in results] == [uid_of(path) for path in paths]


def test_a_title_that_the_node_does_not_know_is_rejected_at_once(tmp_path):
    paths = write_series(tmp_path / "a", STORED[:2], name="a")
    with scp([CTImageStorage]) as (node, _):
        wrong = net.Node(node.host, node.port, "NOBODY", timeout_s=30)
        with pytest.raises(net.NoAssociationError, match="the called AE title is not known there") as error:
            net.echo(wrong)
        assert error.value.permanent
        results = net.send(wrong, paths, attempts=9, pause_s=3600)  # which a second attempt would wait for
    assert {one.reason for one in results} == {
        "the node rejects the association: the called AE title is not known there"
    }


def test_a_node_that_stays_silent_does_not_hold_us_for_long():
    release = threading.Event()

    def slow(_event):
        release.wait()
        return 0x0000

    with scp([], handlers=[(evt.EVT_C_ECHO, slow)]) as (node, _):
        try:
            with pytest.raises(net.NoAssociationError):
                net.echo(net.Node(node.host, node.port, node.aet, timeout_s=0.5))
        finally:
            release.set()


@pytest.mark.parametrize("words", [b"", b"\x02\x00\x00", b"\x02\x00\x00\x00\x10\x00half an answer"])
def test_a_node_that_stops_in_the_middle_of_an_answer_does_not_hold_us_for_long(words):
    told = []

    def ask():
        with pytest.raises(net.NoAssociationError) as error:
            net.echo(net.Node("127.0.0.1", server.getsockname()[1], "PEER", timeout_s=0.5))
        told.append(error.value.what)

    with socket.create_server(("127.0.0.1", 0)) as server:
        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        connection, _ = server.accept()
        with connection:
            connection.sendall(words)
            asking.join(60)
    assert told == ["the node ends the connection during the negotiation"]


def test_a_node_that_stops_in_the_middle_of_a_call_does_not_hold_our_listener():
    node, done = net.Node("127.0.0.1", 104, "PEER", timeout_s=0.5), threading.Event()

    def listen():
        with listener(node, ("127.0.0.1", 0), [build_context(Verification)], []) as port:
            peer = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            peer.sendall(b"\x01\x00\x00")
            wait_for(lambda: [one for one in threading.enumerate() if one.name.startswith("AcceptorThread")])
        done.set()

    with ExitStack() as stack:
        threading.Thread(target=listen, daemon=True).start()
        assert done.wait(60)


def test_a_node_that_resets_the_connection_at_its_release_leaves_no_open_file(monkeypatch):
    close = AssociationSocket.close

    def late(held):
        if held.assoc.is_acceptor:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            theirs.close()
        close(held)

    monkeypatch.setattr(AssociationSocket, "close", late)
    with listener(net.Node("127.0.0.1", 104, "PEER"), ("127.0.0.1", 0), [build_context(Verification)], []) as port:
        opened = AE().associate("127.0.0.1", port, [build_context(Verification)], "CLAIMED_MED")
        theirs = opened.dul.socket.socket
        opened.release()
    opened.join()
    wait_for(lambda: not [one for one in threading.enumerate() if one.name.startswith("AcceptorThread")])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        gc.collect()
    assert [str(one.message) for one in told] == []  # an open socket would be told here


def test_a_node_that_ends_the_association_before_we_have_said_a_word_is_told(monkeypatch):
    echo = Association.send_c_echo

    def late(association, *words):
        ((server,),) = [one.active_associations for one in entity._servers]
        server.abort()
        wait_for(lambda: not association.is_established)
        return echo(association, *words)

    monkeypatch.setattr(Association, "send_c_echo", late)
    with scp([]) as (node, entity), pytest.raises(net.NoAssociationError, match="ended the association"):
        net.echo(node)


# storage commitment on the same association


def test_a_report_on_the_same_association_is_understood():
    def action(event):
        wanted = event.action_information
        told = Dataset()
        told.TransactionUID = wanted.TransactionUID
        told.ReferencedSOPSequence = wanted.ReferencedSOPSequence[:1]
        told.FailedSOPSequence = wanted.ReferencedSOPSequence[1:2]
        told.FailedSOPSequence[0].FailureReason = 0x0110
        threading.Timer(
            0.1, event.assoc.send_n_event_report, (told, 2, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1")
        ).start()
        return 0x0000, None

    with scp([StorageCommitmentPushModel], handlers=[(evt.EVT_N_ACTION, action)]) as (node, _):
        answers = net.commit(node, [(CTImageStorage, f"1.2.3.{n}") for n in range(3)], timeout_s=60)
    assert answers == {"1.2.3.0": "committed", "1.2.3.1": "failed (0x0110)", "1.2.3.2": "unanswered"}


def test_the_node_gets_our_answer_to_its_report_before_the_release(monkeypatch):
    take, answers, told = net_commit._Ledger.take, [], threading.Event()

    def slowly(ledger, event):  # the report is read, and its answer is late
        status = take(ledger, event)
        time.sleep(0.3)
        return status

    def report(event):
        wanted = event.action_information
        answers.append(event.assoc.send_n_event_report(wanted, 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1"))
        told.set()

    def action(event):
        threading.Timer(0.1, report, (event,)).start()
        return 0x0000, None

    monkeypatch.setattr(net_commit._Ledger, "take", slowly)
    with scp([StorageCommitmentPushModel], handlers=[(evt.EVT_N_ACTION, action)]) as (node, _):
        assert net.commit(node, [(CTImageStorage, "1.2.3")], timeout_s=5) == {"1.2.3": "committed"}
        assert told.wait(5)
    assert answers[0][0].Status == 0x0000


def test_without_a_report_nothing_counts_as_committed():
    with scp([StorageCommitmentPushModel], handlers=[(evt.EVT_N_ACTION, lambda _: (0x0000, None))]) as (node, _):
        assert net.commit(node, [(CTImageStorage, "1.2.3")], timeout_s=0.3) == {"1.2.3": "unanswered"}


# hostile archives


@contextmanager
def hostile_archive(objects, *, held):
    """An archive that says it holds `held` (study, instance) and sends `objects` (UID as sent, data set)."""

    def find(event):
        if event.identifier.QueryRetrieveLevel == "SERIES":
            answers = [{"StudyInstanceUID": held[0], "SeriesInstanceUID": "1.2.9"}]
        else:
            answers = [
                {
                    "StudyInstanceUID": held[0],
                    "SeriesInstanceUID": "1.2.9",
                    "SOPInstanceUID": held[1],
                    "SOPClassUID": CTImageStorage,
                }
            ]
        for one in answers:
            answer = Dataset()
            answer.update({})
            for keyword, value in one.items():
                setattr(answer, keyword, value)
            yield 0xFF00, answer

    def get(_event):
        yield len(objects)
        for one in objects:
            yield 0xFF00, one

    handlers = [(evt.EVT_C_FIND, find), (evt.EVT_C_GET, get)]
    with scp([Find, Get, CTImageStorage], handlers=handlers) as (node, _):
        yield node


def _object(study, uid):
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID, made.StudyInstanceUID = CTImageStorage, uid, study
    made.file_meta = Dataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return made


@pytest.mark.filterwarnings("ignore::UserWarning")  # the hostile server's own pydicom protests
def test_nothing_is_written_for_objects_that_were_not_asked_for(tmp_path):
    inbox = tmp_path / "deep" / "in"
    objects = [_object("1.2.3", "../../escaped"), _object("1.2.4", "1.2.4.1"), _object("1.2.3", "1.2.3.1")]
    with hostile_archive(objects, held=("1.2.3", "1.2.3.1")) as node:
        fetched = net.get(node, ["1.2.3"], inbox)
    assert [path.name for path in fetched.files] == ["1.2.3.1.dcm"]
    assert fetched.n_refused >= 1
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["1.2.3.1.dcm"]


def test_what_does_not_come_is_named(tmp_path):
    with hostile_archive([], held=("1.2.3", "1.2.3.1")) as node:
        fetched = net.get(node, ["1.2.3"], tmp_path, attempts=2, pause_s=0.05)
    assert (fetched.files, fetched.n_expected, fetched.missing) == ((), 1, ("1.2.3.1",))


def test_deflated_objects_are_not_asked_for():
    assert not any("1.2.840.10008.1.2.1.99" in group for group in SYNTAXES)


# TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Files of an authority, of a server and a client that it vouches for, and of another authority."""
    folder = tmp_path_factory.mktemp("tls")
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    stranger.cert_pem.write_to_path(folder / "other.pem")
    for name, ca, host in (("server", authority, "127.0.0.1"), ("client", authority, "us"), ("thief", stranger, "us")):
        issued = ca.issue_cert(host)
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    return folder


def tls_of(folder, name="client", ca="ca.pem"):
    return net.Tls(folder / ca, folder / f"{name}.pem", folder / f"{name}.key")


@contextmanager
def tls_scp(folder, box):
    context = server_context(folder / "server.pem", folder / "server.key", folder / "ca.pem")
    with scp([CTImageStorage], handlers=[box.handler()], ssl_context=context) as (node, _):
        yield node


def test_objects_travel_over_tls_with_both_certificates(certificates, tmp_path):
    paths = write_series(tmp_path / "a", STORED[:2], name="a")
    box = Box()
    with tls_scp(certificates, box) as plain:
        node = net.Node(plain.host, plain.port, plain.aet, tls=tls_of(certificates), timeout_s=30)
        net.echo(node)
        assert {one.outcome for one in net.send(node, paths)} == {"stored"}
    assert len(box.objects) == 2


@pytest.mark.parametrize(
    "tls",
    [
        pytest.param(lambda folder: tls_of(folder, ca="other.pem"), id="server of an unknown authority"),
        pytest.param(lambda folder: tls_of(folder, "thief"), id="our certificate is of an unknown authority"),
        pytest.param(lambda folder: net.Tls(folder / "ca.pem"), id="no certificate of ours"),
        pytest.param(lambda _folder: None, id="no TLS at all"),
    ],
)
def test_wrong_tls_gets_no_association(certificates, tls):
    box = Box()
    with tls_scp(certificates, box) as plain:
        node = net.Node(plain.host, plain.port, plain.aet, tls=tls(certificates), timeout_s=30)
        with pytest.raises(net.NoAssociationError):
            net.echo(node)


def test_a_node_that_says_nothing_of_tls_does_not_hold_our_listener(certificates):
    tls = net.Tls(certificates / "ca.pem", certificates / "server.pem", certificates / "server.key")
    node, done = net.Node("127.0.0.1", 104, "PEER", tls=tls, timeout_s=0.5), threading.Event()

    def listen():
        with listener(node, ("127.0.0.1", 0), [build_context(Verification)], []) as port:
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            us = net.Node("127.0.0.1", port, net_node.CALLING_AET, tls=tls_of(certificates), timeout_s=60)
            net.echo(us)
        done.set()

    with ExitStack() as stack:
        threading.Thread(target=listen, daemon=True).start()
        assert done.wait(60)


def test_tls_below_1_2_is_not_spoken(certificates):
    for context in (
        client_context(certificates / "ca.pem"),
        server_context(certificates / "server.pem", certificates / "server.key"),
    ):
        assert context.minimum_version == 0x0303


def test_a_key_that_cannot_be_used_is_an_error_without_its_path(certificates, tmp_path):
    (tmp_path / "SECRETNAME.key").write_text("nothing")
    with pytest.raises(InputError) as error:
        server_context(certificates / "server.pem", tmp_path / "SECRETNAME.key")
    assert "SECRETNAME" not in str(error.value)


# silence


def test_no_header_value_is_logged_or_shown(tmp_path, caplog, capfd):
    paths = write_series(tmp_path / PLANTED, STORED[:2], name="a")
    box = Box(lambda _uid: 0xC000)
    with caplog.at_level(logging.DEBUG), scp([CTImageStorage, MRImageStorage], handlers=[box.handler()]) as (node, _):
        results = net.send(node, paths)
        with pytest.raises(InputError) as error:
            list(net.find(node, {"PatientID": "PLANTED-4711"}))
    shown = capfd.readouterr()
    for text in (caplog.text, shown.out, shown.err, str(error.value), *(one.reason for one in results)):
        assert PLANTED not in text
    assert {one.outcome for one in results} == {"failed"}
