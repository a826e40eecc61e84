"""A real archive sends to our receiver, and asks it whether it is there."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless

from claimed_med.dicom import net
from claimed_med.services.incoming import Store
from claimed_med.services.receiver import Receiver, ReceiverSettings
from claimed_med.testing.orthanc import orthanc
from claimed_med.testing.phantoms import write_series

STORED = np.random.default_rng(0).integers(0, 900, (4, 64, 64)).astype(np.uint16)


def ask(url, content=None):
    """GET, or POST with content; the JSON that comes back."""
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url, data=data)  # noqa: S310 - our own Orthanc
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.load(answer)


@pytest.fixture
def receiver(tmp_path):
    made = Receiver(ReceiverSettings(port=0, min_free_bytes=0, aet="OURS"), Store(tmp_path / "in"))
    made.start()
    yield made
    made.stop(2)


def test_orthanc_finds_us_and_sends_us_a_study(orthanc_installed, receiver, tmp_path):
    paths = write_series(tmp_path / "mr", STORED, name="mr", modality="MR")
    paths += write_series(tmp_path / "ct", STORED[:3], name="ct", syntax=JPEG2000Lossless)
    with orthanc(tmp_path / "orthanc", modalities={"OURS": receiver.port}) as archive:
        node = net.Node("127.0.0.1", archive.dicom_port, archive.aet, timeout_s=20)
        assert {one.outcome for one in net.send(node, paths)} == {"stored"}
        assert ask(f"{archive.url}/modalities/OURS/echo", {}) == {}
        held = ask(f"{archive.url}/instances")
        sent = ask(f"{archive.url}/modalities/OURS/store", {"Resources": held, "Synchronous": True})
    assert sent["InstancesCount"] == len(paths)
    assert sent["FailedInstancesCount"] == 0
    received = {str(dcmread(path).SOPInstanceUID): dcmread(path) for path in Path(tmp_path / "in").rglob("*.dcm")}
    assert len(received) == len(paths)
    for path in paths:
        source = dcmread(path)
        assert received[source.SOPInstanceUID].PixelData == source.PixelData
        assert received[source.SOPInstanceUID].file_meta.TransferSyntaxUID == source.file_meta.TransferSyntaxUID
