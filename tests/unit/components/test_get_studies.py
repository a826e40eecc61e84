from __future__ import annotations

import numpy as np
import pytest
from pydicom import dcmread

import claimed_med as cm
from claimed_med.testing.orthanc import orthanc
from claimed_med.testing.phantoms import write_series
from claimed_med.testing.servers import free_port

STORED = np.random.default_rng(0).integers(0, 900, (3, 32, 32)).astype(np.uint16)


@pytest.mark.parametrize("method", ["get", "move"])
def test_a_study_comes_with_its_pixels(orthanc_installed, tmp_path, method):
    paths = write_series(tmp_path / "out", STORED, name="get")
    port = free_port()
    with orthanc(tmp_path / "orthanc", modalities={"CLAIMED_MED": port}) as server:
        node = f"{server.aet}@127.0.0.1:{server.dicom_port}"
        cm.send_objects(cm.DicomCollection(tmp_path / "out"), node=node)
        source = dcmread(paths[0])
        query = f"StudyInstanceUID={source.StudyInstanceUID}"
        taken = cm.get_studies(node=node, query=query, method=method, listen=f"127.0.0.1:{port}")
        with pytest.raises(cm.InputError, match="no study matches"):
            cm.get_studies(node=node, query="StudyInstanceUID=1.2.3.4.5", method=method)
    assert taken.findings.load()["n_objects"] == len(paths)
    saved = taken.collection.save(tmp_path / "saved")
    back = {str(one.SOPInstanceUID): one.PixelData for one in map(dcmread, saved.rglob("*.dcm"))}
    assert back == {str(one.SOPInstanceUID): one.PixelData for one in map(dcmread, paths)}
