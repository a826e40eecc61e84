"""The two pipelines between archives, with real ones."""

from __future__ import annotations

import pytest
from pydicom import dcmread

from claimed_med.cli import main
from claimed_med.dicom.web import Archive
from claimed_med.testing import orthanc, phantoms


@pytest.fixture
def source(archive_server, tmp_path):
    """An archive that holds one chest CT, and that study's UID."""
    phantoms.write("chest_ct", tmp_path / "chest")
    files = sorted((tmp_path / "chest").rglob("*.dcm"))
    with Archive(archive_server.dicomweb_url) as archive:
        archive.store(files)
        yield archive, str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID), files


def _run(name, out, **parameters):
    words = [word for pair in parameters.items() for word in ("--set", f"{pair[0]}={pair[1]}")]
    return main(["pipeline", "run", name, *words, "--out", str(out), "--no-cache"])


def test_results_are_found_in_the_archive_of_the_study(source, tmp_path):
    archive, study, files = source
    assert _run("pacs_segment_and_report", tmp_path / "out", url=archive.url, query=study) == 0
    added = set(archive.instances(study)) - {str(dcmread(one, stop_before_pixels=True).SOPInstanceUID) for one in files}
    archive.retrieve(study, _made(tmp_path / "back"))
    modalities = sorted(dcmread(tmp_path / "back" / f"{uid}.dcm", stop_before_pixels=True).Modality for uid in added)
    assert modalities == ["OT", "SEG", "SR"]
    before = set(archive.instances(study))
    assert _run("pacs_segment_and_report", tmp_path / "again", url=archive.url, query=study) == 0
    assert set(archive.instances(study)) == before


def test_only_what_was_de_identified_and_blessed_reaches_research(source, tmp_path, monkeypatch):
    monkeypatch.setenv("CLAIMED_MED_SECRET", "a secret of more than sixteen bytes")
    archive, study, files = source
    with orthanc.orthanc(tmp_path / "research", dicom=False) as server, Archive(server.dicomweb_url) as research:
        parameters = {"source_url": archive.url, "query": study, "target_url": research.url}
        assert _run("deidentify_for_research", tmp_path / "out", **parameters) == 0
        (found,) = research.query({})
        assert found.n_instances == len(archive.instances(study))
        assert found.study_uid != study
        headers = [dcmread(path) for path in research.retrieve(found.study_uid, _made(tmp_path / "back"))]
    name = str(dcmread(files[0], stop_before_pixels=True).PatientName)
    assert {one.PatientIdentityRemoved for one in headers} == {"YES"}
    assert not [one for one in headers if name and name in str(one)]


def test_nothing_leaves_when_the_secret_cannot_be_read(source, tmp_path, monkeypatch):
    monkeypatch.delenv("CLAIMED_MED_SECRET", raising=False)
    monkeypatch.setenv("CLAIMED_MED_SECRET_FILE", str(tmp_path / "absent"))
    archive, study, _ = source
    with orthanc.orthanc(tmp_path / "research", dicom=False) as server, Archive(server.dicomweb_url) as research:
        parameters = {"source_url": archive.url, "query": study, "target_url": research.url}
        assert _run("deidentify_for_research", tmp_path / "out", **parameters) == 3
        assert research.query({}) == []


def _made(folder):
    folder.mkdir()
    return folder
