from __future__ import annotations

import numpy as np
import pytest
from pydicom import dcmread

import claimed_med as cm
from claimed_med.dicom.web import Archive
from claimed_med.testing.phantoms import write_series

STORED = np.random.default_rng(0).integers(0, 900, (3, 32, 32)).astype(np.uint16)


@pytest.fixture
def held(archive_server, tmp_path):
    """The address of an archive that holds two more studies, and their UIDs."""
    paths = [one for name in "ab" for one in write_series(tmp_path / name, STORED, name=f"find {name}")]
    with Archive(archive_server.dicomweb_url) as archive:
        archive.store(paths)
    uids = sorted({str(dcmread(path).StudyInstanceUID) for path in paths})
    return f"{archive_server.aet}@127.0.0.1:{archive_server.dicom_port}", uids


def test_studies_are_listed_with_counts_and_nothing_else(held):
    node, (first, _) = held
    rows = cm.find_studies(node=node, query=f"StudyInstanceUID={first}").load().to_dict("records")
    assert rows == [{"study_uid": first, "modalities": "CT", "n_series": 1, "n_instances": 3}]


def test_no_match_is_an_empty_table(held):
    assert list(cm.find_studies(node=held[0], query="StudyInstanceUID=1.2.3.4.5").load()["study_uid"]) == []


def test_more_matches_than_allowed_are_an_error(held):
    with pytest.raises(cm.InputError, match="max_studies"):
        cm.find_studies(node=held[0], query="ModalitiesInStudy=CT", max_studies=1)
