"""What the store of received objects promises, without a network."""

from __future__ import annotations

import threading
import zlib

import pytest

from claimed_med.errors import InputError
from claimed_med.services.incoming import HEAD_BYTES, Store, identifiers

EXPLICIT, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
MR = "1.2.840.10008.5.1.4.1.1.4"


def test_a_kept_object_has_its_bytes_and_leaves_nothing_else(tmp_path, files):
    path, repeated = Store(tmp_path / "in").keep("1.2.3", "1.2.3.4", b"content")
    assert path.read_bytes() == b"content"
    assert not repeated
    assert files(tmp_path) == ["in/1.2.3/1.2.3.4.dcm"]
    assert path.stat().st_mode & 0o007 == 0
    assert path.parent.stat().st_mode & 0o007 == 0


@pytest.mark.parametrize(
    "uid", ["", ".", "..", "../1.2", "1.2/3", "1..2", "1.2.", ".1", "1.2\n", "1" * 65, "1.x", "\uff11.2"]
)
def test_what_is_no_uid_is_refused(tmp_path, files, uid):
    store = Store(tmp_path / "in")
    with pytest.raises(InputError):
        store.keep(uid, "1.2.3", b"x")
    with pytest.raises(InputError):
        store.keep("1.2.3", uid, b"x")
    assert files(tmp_path) == []


def test_the_same_object_from_many_senders_at_once_is_kept_once(tmp_path, files):
    store, start = Store(tmp_path / "in"), threading.Barrier(8)
    outcomes = []

    def send():
        start.wait()
        outcomes.append(store.keep("1.2.3", "1.2.3.4", b"content" * 1000))

    senders = [threading.Thread(target=send) for _ in range(8)]
    for one in senders:
        one.start()
    for one in senders:
        one.join()
    assert sorted(repeated for _, repeated in outcomes) == [False] + [True] * 7
    assert files(tmp_path) == ["in/1.2.3/1.2.3.4.dcm"]


def test_an_arrival_that_is_not_kept_leaves_nothing(tmp_path, files):
    store = Store(tmp_path / "in")
    with store.arrival() as arriving:
        arriving.write(b"half")
        assert len(files(tmp_path)) == 1
    assert files(tmp_path) == []


def test_it_knows_what_it_holds(tmp_path):
    store = Store(tmp_path / "in")
    store.keep("1.2.3", "1.2.3.4", b"a")
    store.keep("1.2.5", "1.2.5.6", b"b")
    assert store.held({"1.2.3.4", "1.2.5.6", "1.2.7.8"}) == {"1.2.3.4", "1.2.5.6"}


@pytest.mark.parametrize("deflated", [False, True])
def test_identifiers_are_found_in_the_first_bytes(raw, deflated):
    content = raw.data_set(MR, "1.2.3.4", pixels=bytes(3 * HEAD_BYTES))
    if deflated:
        packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
        content = packer.compress(content) + packer.flush()
    told = identifiers(content[:HEAD_BYTES], DEFLATED if deflated else EXPLICIT)
    assert (told.sop_class_uid, told.sop_uid, told.study_uid, told.series_uid) == (MR, "1.2.3.4", "1.2.3", "1.2.3.1")


@pytest.mark.parametrize("content", [b"\x08", b"\x08\x00\x18\x00UI\xff\xff1.2", b"\xff" * 100])
def test_what_is_no_data_set_is_an_error(content):
    with pytest.raises(InputError):
        identifiers(content, EXPLICIT)
