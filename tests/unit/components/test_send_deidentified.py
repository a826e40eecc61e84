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


def test_only_what_the_decision_blesses_is_sent(example, receiver, tmp_path, monkeypatch):
    monkeypatch.setenv("CLAIMED_MED_SECRET", "a secret of more than sixteen bytes")
    made = cm.deidentify_dicom(cm.DicomCollection(example("chest_ct")))
    objects = cm.DicomCollection(made.deidentified.save(tmp_path / "objects"))
    audit = cm.Report(made.audit.save(tmp_path / "audit"))
    checked = cm.check_deidentification(objects, audit)
    decision = cm.Decision(checked.decision.save(tmp_path / "decision"))
    node = f"CLAIMED_MED@127.0.0.1:{receiver.port}"
    with pytest.raises(cm.RefusedError):
        cm.send_deidentified(cm.DicomCollection(example("head_mr")), decision, node=node)
    assert not list((tmp_path / "in").glob("*/*.dcm"))
    receipt = cm.send_deidentified(objects, decision, node=node).load()
    received = [dcmread(path) for path in (tmp_path / "in").glob("*/*.dcm")]
    assert receipt["n_objects"] == len(received) > 0
    assert {one.PatientIdentityRemoved for one in received} == {"YES"}
