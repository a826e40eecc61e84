"""A scanner sends a study over the network; without its patient, and with results, it is found in the archive."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from pydicom import dcmread

from claimed_med.dicom.web import Archive
from claimed_med.testing import orthanc, phantoms
from claimed_med.testing.routing import RouterProcess, wait_for

STORESCU = "/usr/bin/storescu"  # pynetdicom installs a script of the same name
RULES = """
[receiver]
aet = "ROUTER"
port = {port}

[router]
first_pause_s = 0.2

[destination.research]
url = "{url}"

[[rule]]
name = "chest CT for research"
when = 'Modality == "CT"'
pipeline = "deidentify_and_report"
settings = {{ profile = "research", min_slices = 3 }}
take = ["deidentify-dicom/deidentified", "*/segmentation", "*/measurements", "*/capture"]
results = ["research"]
complete = {{ required = ['Modality == "CT" and NumberOfSlices >= {n_slices}'], quiet_s = 1 }}
"""


@pytest.fixture
def study(tmp_path):
    phantoms.write("chest_ct", tmp_path / "chest")
    return sorted((tmp_path / "chest").rglob("*.dcm"))


@pytest.fixture
def archive(archive_server):
    with Archive(archive_server.dicomweb_url) as made:
        yield made


def scan(port, files):
    """What a scanner does, with a program that is not ours."""
    words = [STORESCU, "-aec", "ROUTER", "127.0.0.1", str(port), *map(str, files)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(shutil.which(STORESCU) is None, reason="dcmtk is absent (apt-get install dcmtk)")
def test_a_study_from_a_scanner_ends_de_identified_and_with_results_in_the_archive(
    archive, study, tmp_path, monkeypatch
):
    monkeypatch.setenv("CLAIMED_MED_SECRET", "a secret of more than sixteen bytes")
    before = {one.study_uid for one in archive.query({})}
    port, rules = orthanc.free_port(), tmp_path / "RULES.toml"
    rules.write_text(RULES.format(port=port, url=archive.url, n_slices=len(study)))
    uid = str(dcmread(study[0], stop_before_pixels=True).StudyInstanceUID)
    with RouterProcess(rules, tmp_path / "home", tmp_path / "log") as router:
        wait_for(lambda: scan(port, study))
        wait_for(lambda: list((tmp_path / "home").glob("runs/*/*/run/deidentify-dicom")))
        assert router.kill() > 0  # in the middle of the pipeline, whose processes die with it
        router.start()
        wait_for(lambda: router.status("--study", uid).get("state") in {"stored", "failed", "quarantined"})
        told = router.status("--study", uid)
        assert router.stop() == 0
    assert told["state"] == "stored", told
    assert "the router was stopped; goes on" in {one["words"] for one in told["history"]}
    (new,) = {one.study_uid for one in archive.query({})} - before
    assert new != uid
    headers = [dcmread(path) for path in archive.retrieve(new, tmp_path / "back")]
    made = sorted(one.Modality for one in headers if one.Modality != "CT")
    assert (made, len(headers)) == (["OT", "SEG", "SR"], len(study) + 3)
    refers_to_its_images(headers)
    for file in [*(tmp_path / "back").iterdir(), tmp_path / "log", *(tmp_path / "home").glob("state.*")]:
        content = file.read_bytes()
        assert not [word for word in phantoms.PLANTED.values() if word.encode() in content], file.name


def refers_to_its_images(headers):
    """The segmentation refers to images that are in the archive beside it."""
    (segmentation,) = [one for one in headers if one.Modality == "SEG"]
    images = {one.SOPInstanceUID for one in headers if one.Modality == "CT"}
    (series,) = segmentation.ReferencedSeriesSequence
    assert {one.ReferencedSOPInstanceUID for one in series.ReferencedInstanceSequence} <= images
    assert {one.PatientIdentityRemoved for one in headers if one.Modality == "CT"} == {"YES"}
