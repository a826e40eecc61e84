from __future__ import annotations

import numpy as np
import pytest
from pydicom import dcmread

import claimed_med as cm
from claimed_med.testing.phantoms import write_series

STORED = np.random.default_rng(0).integers(0, 900, (3, 32, 32)).astype(np.uint16)


def test_what_was_stored_comes_back_and_a_repeat_is_known(archive_server, tmp_path):
    paths = write_series(tmp_path / "out", STORED, name="fetch")
    url, objects = archive_server.dicomweb_url, cm.DicomCollection(tmp_path / "out")
    assert cm.store_objects(objects, url=url).load()["counts"] == {"stored": 3}
    assert cm.store_objects(objects, url=url).load()["counts"] == {"already stored": 3}
    taken = cm.fetch_studies(url=url, query=str(dcmread(paths[0]).StudyInstanceUID))
    saved = taken.collection.save(tmp_path / "saved")
    back = {str(dcmread(path).SOPInstanceUID): path.read_bytes() for path in saved.rglob("*.dcm")}
    assert back == {str(dcmread(path).SOPInstanceUID): path.read_bytes() for path in paths}


def test_a_query_without_a_match_is_refused_without_being_shown(archive_server):
    with pytest.raises(cm.InputError, match="no study matches") as error:
        cm.fetch_studies(url=archive_server.dicomweb_url, query="PatientName=SECRETSURNAME")
    assert "SECRETSURNAME" not in str(error.value)


def test_more_matches_than_allowed_are_an_error(archive_server, tmp_path):
    for name in "ab":
        write_series(tmp_path / name, STORED, name=f"many {name}")
    cm.store_objects(cm.DicomCollection(tmp_path), url=archive_server.dicomweb_url)
    with pytest.raises(cm.InputError, match="max_studies"):
        cm.fetch_studies(url=archive_server.dicomweb_url, query="ModalitiesInStudy=CT", max_studies=1)
