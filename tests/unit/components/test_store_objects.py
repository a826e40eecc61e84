from __future__ import annotations

import pytest

import claimed_med as cm
from claimed_med.testing.servers import free_port


def test_an_archive_that_is_not_there_fails_every_object_with_a_reason(example):
    with pytest.raises(cm.OutputError, match="objects were not stored"):
        cm.store_objects(cm.DicomCollection(example("chest_ct")), url=f"http://127.0.0.1:{free_port()}/dicom-web")


def test_a_folder_without_objects_is_refused(archive_server, tmp_path):
    (tmp_path / "note.txt").write_text("nothing")
    with pytest.raises(cm.InputError, match="no object"):
        cm.store_objects(cm.DicomCollection(tmp_path), url=archive_server.dicomweb_url)
