from __future__ import annotations

import pytest
from pydicom import dcmread

import claimed_med as cm
from claimed_med.services.incoming import Store
from claimed_med.services.receiver import Receiver, ReceiverSettings


@pytest.fixture
def receiver(tmp_path):
    made = Receiver(ReceiverSettings(port=0, min_free_bytes=0), Store(tmp_path / "in"))
    made.start()
    yield made
    made.stop(2)


def test_every_object_arrives_and_is_vouched_for(example, receiver, tmp_path):
    folder = example("chest_ct")
    node = f"CLAIMED_MED@127.0.0.1:{receiver.port}"
    receipt = cm.send_objects(cm.DicomCollection(folder), node=node, commit=True).load()
    sent = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID): path for path in folder.rglob("*.dcm")}
    assert (receipt["n_objects"], receipt["counts"]) == (len(sent), {"stored": len(sent)})
    assert {one["sop_uid"]: one["commitment"] for one in receipt["objects"]} == dict.fromkeys(sent, "committed")
    received = {path.stem: path for path in (tmp_path / "in").glob("*/*.dcm")}
    assert set(received) == set(sent)
    assert all(dcmread(received[uid]).PixelData == dcmread(path).PixelData for uid, path in sent.items())


def test_objects_that_are_not_stored_are_an_error_with_the_reason(example, receiver):
    node = f"NOBODY@127.0.0.1:{receiver.port}"
    with pytest.raises(cm.OutputError, match="the called AE title is not known there"):
        cm.send_objects(cm.DicomCollection(example("chest_ct")), node=node)
