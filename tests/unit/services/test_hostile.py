"""What strangers and broken peers send: the right status or a clear end, and nothing outside the folder."""

from __future__ import annotations

import random
import resource
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import trustme

from claimed_med.dicom import net
from claimed_med.dicom.net_tls import Tls
from claimed_med.errors import ContractError
from claimed_med.services import pdu
from claimed_med.services.receiver import ReceiverSettings
from claimed_med.testing.phantoms import write_series

MR, CT = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT, DEFLATED, VERIFICATION = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.1"
REJECT, ABORT, ACCEPT = pdu.ASSOCIATE_RJ, pdu.ABORT, pdu.ASSOCIATE_AC
PERMANENT, TRANSIENT = 1, 2


def alive(receiver):
    """Whether the receiver still serves an honest peer; nothing inside it may have failed."""
    net.echo(net.Node("127.0.0.1", receiver.port, receiver.settings.aet, timeout_s=60))
    text = [one for metric in receiver.metrics.registry.collect() for one in metric.samples]
    failed = [one for one in text if one.labels.get("how") == "internal error"]
    assert not failed
    return True


# who


@pytest.mark.parametrize(
    ("titles", "reason"), [({"called": b"OTHER"}, 7), ({"calling": b"STRANGER"}, 3), ({"calling": b"\xff\0\x01"}, 3)]
)
def test_an_unknown_title_is_rejected_for_good(receiving, raw, tmp_path, titles, reason):
    with receiving(tmp_path / "in", allowed_aets=frozenset({"TESTER"})) as receiver, raw(receiver.port) as peer:
        assert peer.associate(**titles) == (REJECT, bytes((0, PERMANENT, 1, reason)))
        assert peer.pdu() == (0, b"")


def test_an_address_that_is_not_allowed_hears_nothing(receiving, raw, tmp_path):
    with receiving(tmp_path / "in", allowed_addresses=("10.0.0.0/8", "192.168.1.7")) as receiver:
        with raw(receiver.port) as peer, suppress(OSError):  # closed before we could say a word
            assert peer.associate() == (0, b"")
        assert receiver.metrics.registry.get_sample_value(
            "claimed_med_receiver_associations_total", {"how": "address not allowed"}
        )


def test_beyond_this_machine_strangers_must_be_kept_out():
    for host in ("0.0.0.0", "::", "10.1.2.3", "pacs.example"):  # noqa: S104 - that is what must be refused
        with pytest.raises(ContractError, match="could store objects"):
            ReceiverSettings(host=host)
    ReceiverSettings(host="10.1.2.3", allowed_aets=frozenset({"CT1"}), allowed_addresses=("10.1.2.0/24",))
    with pytest.raises(ContractError, match="allowed address"):
        ReceiverSettings(allowed_addresses=("somewhere",))


def test_a_flood_of_associations_is_told_to_come_back_later(receiving, raw, tmp_path):
    with receiving(tmp_path / "in", max_associations=3) as receiver:
        inside = [raw(receiver.port) for _ in range(3)]
        assert {peer.associate()[0] for peer in inside} == {ACCEPT}
        outside = [raw(receiver.port) for _ in range(20)]
        assert {peer.associate() for peer in outside} == {(REJECT, bytes((0, TRANSIENT, 3, 2)))}
        inside[0].say(pdu.framed(pdu.RELEASE_RQ, bytes(4)))
        assert inside[0].pdu()[0] == pdu.RELEASE_RP
        for peer in (inside[0], *outside):
            peer.socket.close()
        assert _eventually(lambda: alive(receiver))
        for peer in inside[1:]:
            peer.socket.close()


def test_a_flood_of_silent_connections_keeps_nobody_out(receiving, raw, tmp_path):
    with receiving(tmp_path / "in", max_associations=4, handshake_s=60) as receiver:
        silent = [raw(receiver.port) for _ in range(120)]
        assert _eventually(lambda: alive(receiver))
        for peer in silent:
            peer.socket.close()


def test_who_says_nothing_is_cut_off(receiving, raw, tmp_path):
    with receiving(tmp_path / "in", handshake_s=0.3) as receiver, raw(receiver.port) as silent:
        assert silent.pdu() == (0, b"")
    with receiving(tmp_path / "in", idle_s=0.3) as receiver, raw(receiver.port) as idle:
        assert idle.associate()[0] == ACCEPT
        assert idle.pdu() == (0, b"")
    with receiving(tmp_path / "in", progress_s=2.0) as receiver, raw(receiver.port) as slow:
        assert slow.associate()[0] == ACCEPT
        slow.say(struct.pack(">BxI", pdu.DATA, 1000) + b"\0\0\0")
        assert slow.pdu() == (0, b"")


# TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name, ca, host in (("server", authority, "127.0.0.1"), ("client", authority, "us"), ("thief", stranger, "us")):
        issued = ca.issue_cert(host)
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    return folder


def tls_of(folder, name):
    return Tls(folder / "ca.pem", folder / f"{name}.pem", folder / f"{name}.key")


def test_only_a_certificate_of_the_authority_opens_the_door(receiving, raw, tmp_path, certificates):
    with receiving(tmp_path / "in", tls=tls_of(certificates, "server")) as receiver:

        def node(tls):
            return net.Node("127.0.0.1", receiver.port, "CLAIMED_MED", tls=tls, timeout_s=60)

        net.echo(node(tls_of(certificates, "client")))
        for tls in (tls_of(certificates, "thief"), Tls(certificates / "ca.pem"), None):
            with pytest.raises(net.NoAssociationError):
                net.echo(node(tls))
        with raw(receiver.port) as peer:
            peer.say(b"\x16\x03\x01\x02\x00garbage" * 50)
            peer.socket.settimeout(60)
            peer.pdu()
        net.echo(node(tls_of(certificates, "client")))
    tls = tls_of(certificates, "server")
    with receiving(tmp_path / "in", tls=tls, handshake_s=0.3) as receiver, raw(receiver.port) as silent:
        assert silent.pdu() == (0, b"")


def test_dcmtk_stores_over_tls_with_a_certificate_and_not_without(
    receiving, dcmtk_installed, tmp_path, files, certificates
):
    (path,) = write_series(tmp_path / "out", np.zeros((1, 32, 32), np.uint16), name="a")
    with receiving(tmp_path / "in", tls=tls_of(certificates, "server")) as receiver:
        address = ("-aec", "CLAIMED_MED", "127.0.0.1", receiver.port, path)
        authority = ("--add-cert-file", certificates / "ca.pem")
        for name, code in (("thief", False), ("client", True)):
            own = ("--enable-tls", certificates / f"{name}.key", certificates / f"{name}.pem")
            assert (dcmtk_installed("storescu", *own, *authority, *address)[0] == 0) is code
        assert dcmtk_installed("storescu", "--anonymous-tls", *authority, *address)[0] != 0
        assert dcmtk_installed("storescu", *address)[0] != 0
    assert len(files(tmp_path / "in")) == 1


# protocol


@pytest.mark.parametrize(
    "words",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x00" * 64,
        b"\xff" * 64,
        pdu.framed(pdu.DATA, bytes(10)),
        pdu.framed(pdu.ASSOCIATE_RQ, bytes(10)),
        pdu.framed(pdu.ASSOCIATE_RQ, bytes(68) + b"\x10\x00\xff\xff"),
        struct.pack(">BxI", pdu.ASSOCIATE_RQ, 0xFFFFFFFF),
        struct.pack(">BxI", pdu.ASSOCIATE_RQ, (1 << 20) + 1) + bytes(1000),
    ],
)
def test_what_is_no_dicom_is_aborted(receiving, raw, tmp_path, files, words):
    with receiving(tmp_path / "in") as receiver:
        with raw(receiver.port) as peer:
            peer.say(words)
            kind, _ = peer.pdu()
            assert kind in {ABORT, REJECT}
            assert peer.pdu() == (0, b"")
        assert alive(receiver)
    assert files(tmp_path) == []


def _data(length):
    return struct.pack(">BxI", pdu.DATA, length)


@pytest.mark.parametrize(
    "words",
    [
        _data(0xFFFFFFFF),
        _data((1 << 18) + 1) + bytes(5000),  # longer than what was agreed on
        pdu.framed(pdu.DATA, struct.pack(">IBB", 0xFFFFFFFF, 1, 3)),
        pdu.framed(pdu.DATA, struct.pack(">IBB", 1, 1, 3)),
        pdu.framed(pdu.DATA, struct.pack(">IBB", 2, 99, 3)),  # a context that nobody agreed on
        pdu.framed(pdu.DATA, struct.pack(">IBB", 6, 1, 2) + b"data"),  # data without a command
        pdu.framed(pdu.DATA, struct.pack(">IBB", 6, 1, 3) + b"oops"),
        pdu.framed(pdu.ASSOCIATE_RQ, bytes(80)),
        pdu.framed(0x99, b""),
        b"".join(pdu.framed(pdu.DATA, struct.pack(">IBB", 8002, 1, 1) + bytes(8000)) for _ in range(3)),
    ],
)
def test_a_message_that_is_none_is_aborted(receiving, raw, tmp_path, files, words):
    with receiving(tmp_path / "in") as receiver:
        with raw(receiver.port) as peer:
            assert peer.associate()[0] == ACCEPT
            peer.say(words)
            assert peer.pdu()[0] == ABORT
            assert peer.pdu() == (0, b"")
        assert alive(receiver)
    assert files(tmp_path) == []


def test_random_damage_to_a_conversation_harms_nobody(receiving, raw, tmp_path, files):
    command, content = raw.command(MR, "1.2.3.4"), raw.data_set(MR, "1.2.3.4", pixels=bytes(3000))
    words = raw.request([(1, MR, EXPLICIT)]) + pdu.message(1, command, content, 1000)
    source = random.Random(7)  # noqa: S311 - the same damage every time
    with receiving(tmp_path / "in", handshake_s=2, progress_s=2, idle_s=2) as receiver:
        for _ in range(150):
            damaged = bytearray(words)
            for _ in range(source.randint(1, 6)):
                damaged[source.randrange(len(damaged))] = source.randrange(256)
            with raw(receiver.port) as peer:
                peer.say(bytes(damaged[: source.randint(1, len(damaged))]))
                peer.socket.shutdown(socket.SHUT_WR)
                while peer.pdu()[0]:
                    pass
        assert alive(receiver)
    assert all(name.startswith("in/") and ".." not in name and ".partial" not in name for name in files(tmp_path))


# objects


@pytest.mark.parametrize(
    ("uid", "told", "study", "series", "status"),
    [
        ("../../escaped", "../../escaped", "1.2.3", "1.2.3.1", 0xC000),
        ("1.2/../../4", "1.2/../../4", "1.2.3", "1.2.3.1", 0xC000),
        ("/etc/passwd", "/etc/passwd", "1.2.3", "1.2.3.1", 0xC000),
        ("1.2.3.4", "1.2.3.4", "../../escaped", "1.2.3.1", 0xC000),
        ("1.2.3.4", "1.2.3.4", "..", "1.2.3.1", 0xC000),
        ("1.2.3.4", "1.2.3.4", "", "1.2.3.1", 0xC000),
        ("1.2.3.4", "1.2.3.4", "1.2.3", "../x", 0xC000),
        ("1.2.3.4", "1.2.3.5", "1.2.3", "1.2.3.1", 0xA900),
        ("1" * 64 + ".1", "1" * 64 + ".1", "1.2.3", "1.2.3.1", 0xC000),
    ],
)
def test_no_path_ever_comes_from_a_sender(receiving, raw, tmp_path, files, uid, told, study, series, status):
    with receiving(tmp_path / "deep" / "in") as receiver, raw(receiver.port) as peer:
        peer.associate()
        answer = peer.store(raw.command(MR, uid), raw.data_set(MR, told, study, series))
        assert answer[0] == status
        assert peer.store(raw.command(MR, "1.2.9"), raw.data_set(MR, "1.2.9"))[0] == 0x0000
    assert files(tmp_path) == ["deep/in/1.2.3/1.2.9.dcm"]


def test_another_class_than_agreed_or_announced_is_refused(receiving, raw, tmp_path, files):
    with receiving(tmp_path / "in") as receiver, raw(receiver.port) as peer:
        peer.associate()
        assert peer.store(raw.command(CT, "1.2.3.4"), raw.data_set(CT, "1.2.3.4"))[0] == 0x0122
        assert peer.store(raw.command(MR, "1.2.3.4"), raw.data_set(CT, "1.2.3.4"))[0] == 0xA900
        assert peer.store(raw.command(MR, "1.2.3.4"), b"\x01no data set at all, only text")[0] == 0xC000
    assert files(tmp_path) == []


def test_sequences_without_an_end_are_refused(receiving, raw, tmp_path, files):
    bottomless = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 30000
    with receiving(tmp_path / "in") as receiver, raw(receiver.port) as peer:
        peer.associate()
        content = raw.data_set(MR, "1.2.3.4", more=bottomless)
        assert peer.store(raw.command(MR, "1.2.3.4"), content)[0] == 0xC000
        assert alive(receiver)
    assert files(tmp_path) == []


def test_an_object_that_is_too_large_is_refused_and_the_next_is_taken(receiving, raw, tmp_path, files):
    with receiving(tmp_path / "in", max_object_bytes=1 << 20) as receiver, raw(receiver.port) as peer:
        peer.associate()
        status, comment = peer.store(raw.command(MR, "1.2.3.4"), raw.data_set(MR, "1.2.3.4", pixels=bytes(1 << 20)))
        assert (status, comment.strip()) == (0xC001, "larger than this node takes")
        assert peer.store(raw.command(MR, "1.2.3.5"), raw.data_set(MR, "1.2.3.5", pixels=bytes(1 << 19)))[0] == 0
    assert files(tmp_path) == ["in/1.2.3/1.2.3.5.dcm"]


def test_an_object_without_an_end_is_aborted(receiving, raw, tmp_path, files):
    with receiving(tmp_path / "in", max_object_bytes=1 << 18) as receiver, raw(receiver.port) as peer:
        peer.associate()
        peer.say(pdu.message(1, raw.command(MR, "1.2.3.4"), b"", 16384))
        piece = pdu.framed(pdu.DATA, struct.pack(">IBB", 16002, 1, 0) + bytes(16000))
        with suppress(OSError):
            for _ in range(100):
                peer.say(piece)
        assert peer.pdu()[0] in {ABORT, 0}
    assert files(tmp_path) == []


def _deflated(content):
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


def test_a_deflated_bomb_is_refused_and_an_honest_deflated_object_taken(receiving, raw, tmp_path, files):
    bomb = _deflated(raw.data_set(MR, "1.2.3.4", pixels=bytes(64 << 20)))
    honest = _deflated(raw.data_set(MR, "1.2.3.5", pixels=bytes(1 << 20)))
    assert len(bomb) < 1 << 17
    with receiving(tmp_path / "in", max_object_bytes=16 << 20) as receiver, raw(receiver.port) as peer:
        peer.associate((1, MR, DEFLATED))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        status, comment = peer.store(raw.command(MR, "1.2.3.4"), bomb)
        assert (status, comment.strip()) == (0xC001, "unfolds to more than this node takes")
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10  # KiB: it was never unfolded
        assert peer.store(raw.command(MR, "1.2.3.5"), honest)[0] == 0
        assert peer.store(raw.command(MR, "1.2.3.6"), honest[:-30])[0] == 0xC000
        assert peer.store(raw.command(MR, "1.2.3.6"), b"\xff" * 3000)[0] == 0xC000
    assert files(tmp_path) == ["in/1.2.3/1.2.3.5.dcm"]


# disk


def test_nothing_is_written_when_the_reserve_would_be_touched(receiving, raw, tmp_path, files):
    with receiving(tmp_path / "in", min_free_bytes=1 << 60) as receiver, raw(receiver.port) as peer:
        peer.associate()
        status, comment = peer.store(raw.command(MR, "1.2.3.4"), raw.data_set(MR, "1.2.3.4", pixels=bytes(90000)))
        assert (status, comment.strip()) == (0xA700, "not enough free disk space")
        assert alive(receiver)
    assert files(tmp_path) == []


_SMALL_FILES = """
import resource, sys
from claimed_med.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
sys.exit(main(["net", "serve", sys.argv[1], "--port", "0", "--min-free-mib", "0"]))
"""


def test_a_disk_that_takes_no_more_is_out_of_resources(raw, tmp_path, files):
    words = [sys.executable, "-c", _SMALL_FILES, str(tmp_path / "in")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            port = int(server.stdout.readline().split()[-1])
            with raw(port) as peer:
                peer.associate()
                large, small = (raw.data_set(MR, uid, pixels=bytes(n)) for uid, n in (("1.2.1", 400000), ("1.2.2", 99)))
                assert peer.store(raw.command(MR, "1.2.1"), large)[0] == 0xA700
                assert peer.store(raw.command(MR, "1.2.2"), small)[0] == 0
        finally:
            server.terminate()
            log = server.stderr.read()
    assert server.returncode == 0
    assert "PLANTED" not in log
    assert files(tmp_path) == ["in/1.2.3/1.2.2.dcm"]


_SMALL_DISK = """
mount -t tmpfs -o size=6m none "$1" || exit 77
exec "$2" -m claimed_med net serve "$1/in" --port 0 --min-free-mib 2
"""


def test_the_reserve_of_a_small_disk_stays_free(raw, tmp_path):
    words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _SMALL_DISK, "sh"]
    with subprocess.Popen(
        [*words, str(tmp_path), sys.executable], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        told = server.stdout.readline()
        if not told:
            server.wait()
            pytest.skip("no private mounts on this machine")
        try:
            with raw(int(told.split()[-1])) as peer:
                peer.associate()
                uids = [f"1.2.3.{number}" for number in range(12)]
                answers = [
                    peer.store(raw.command(MR, uid), raw.data_set(MR, uid, pixels=bytes(600_000)))[0] for uid in uids
                ]
            inside = Path(f"/proc/{server.pid}/root{tmp_path}")  # the disk is seen by the server only
            kept, free = sorted(one.name for one in inside.rglob("*.dcm")), shutil.disk_usage(inside).free
            left = list(inside.rglob(".partial-*"))
        finally:
            server.terminate()
    n_stored = answers.count(0)
    assert 3 <= n_stored < 12
    assert answers == [0] * n_stored + [0xA700] * (12 - n_stored)
    assert kept == sorted(f"{uid}.dcm" for uid in uids[:n_stored])
    assert free >= 2 << 20
    assert left == []


def _eventually(condition):
    """Whether a condition comes to hold; associations may be refused until then."""
    end = time.monotonic() + 60
    while True:
        try:
            return condition()
        except net.NoAssociationError:
            if time.monotonic() > end:
                raise
            threading.Event().wait(0.05)
