"""A scanner sends a study over the network; without its patient, and with results, it is found in the archive.

The rules are those of docs/routing.md, with the addresses of this test.
"""

from __future__ import annotations

import re
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from pydicom import dcmread

from claimed_med.dicom.web import Archive
from claimed_med.testing import orthanc, phantoms
from claimed_med.testing.routing import RouterProcess, wait_for
from claimed_med.testing.servers import free_port

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "routing.md"


def rules_of_the_page(**places):
    """The example of the page; every place must occur in it."""
    (text,) = re.findall(r"^<!-- file: RULES.toml -->\n```toml\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    changes = {
        "port = 11112": "port = {port}",
        "metrics_port = 9464": "metrics_port = {metrics_port}",
        "ARCHIVE@pacs.example:11112": "{node}",
        "https://research.example/dicom-web": "{url}",
        "quiet_s = 30": "quiet_s = 1",
        "NumberOfSlices >= 10": "NumberOfSlices >= {n_slices}",
    }
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new.format(**places))
    return text


@pytest.fixture
def study(tmp_path):
    phantoms.write("chest_ct", tmp_path / "chest")
    return sorted((tmp_path / "chest").rglob("*.dcm"))


@pytest.fixture
def research(orthanc_installed, tmp_path):
    with orthanc.orthanc(tmp_path / "research", dicom=False) as server, Archive(server.dicomweb_url) as made:
        yield made


@pytest.fixture
def scan(dcmtk_installed):
    """What a scanner does, with a program that is not ours."""
    return lambda port, files: dcmtk_installed("storescu", "-aec", "ROUTER", "127.0.0.1", port, *files)[0] == 0


def test_a_study_from_a_scanner_ends_de_identified_and_with_results_in_the_archive(
    archive_server, research, scan, study, tmp_path, monkeypatch
):
    monkeypatch.setenv("CLAIMED_MED_SECRET", "a secret of more than sixteen bytes")
    port, metrics_port, rules = free_port(), free_port(), tmp_path / "RULES.toml"
    node = f"{archive_server.aet}@127.0.0.1:{archive_server.dicom_port}"
    places = {"port": port, "metrics_port": metrics_port, "node": node, "url": research.url, "n_slices": len(study)}
    rules.write_text(rules_of_the_page(**places))
    uid = str(dcmread(study[0], stop_before_pixels=True).StudyInstanceUID)
    with RouterProcess(rules, tmp_path / "home", tmp_path / "log") as router:
        wait_for(lambda: router.check() and scan(port, study))
        wait_for(lambda: list((tmp_path / "home").glob("runs/*/*/run/deidentify-dicom")))
        assert router.kill() > 0  # in the middle of the pipeline, whose processes die with it
        router.start()
        wait_for(lambda: router.status("--study", uid).get("state") in {"stored", "failed", "quarantined"})
        told = router.status("--study", uid)
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics") as answer:
            metrics = answer.read().decode()
        assert router.stop() == 0
    assert told["state"] == "stored", told
    assert "the router was stopped; goes on" in {one["words"] for one in told["history"]}
    with Archive(archive_server.dicomweb_url) as archive:
        sent = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in study}
        assert sent <= set(archive.instances(uid))  # results of other tests may lie in the same study
    (found,) = research.query({})
    assert found.study_uid != uid
    headers = [dcmread(path) for path in research.retrieve(found.study_uid, tmp_path / "back")]
    made = sorted(one.Modality for one in headers if one.Modality != "CT")
    assert (made, len(headers)) == (["OT", "SEG", "SR"], len(study) + 3)
    assert_it_refers_to_its_images(headers)
    assert 'claimed_med_router_studies{state="stored"} 1.0' in metrics
    assert "claimed_med_receiver_open_associations" in metrics
    texts = [metrics.encode(), *(file.read_bytes() for file in traces(tmp_path))]
    assert not [word for word in phantoms.PLANTED.values() for content in texts if word.encode() in content]


RULES = """
[receiver]
aet = "ROUTER"
port = {port}
[destination.pacs]
node = "{node}"
[[rule]]
name = "report into the PACS"
forward = ["pacs"]
pipeline = "pacs_segment_and_report"
input = ""
settings = {{ url = "{url}", query = "{{study_uid}}" }}
complete.required = ['NumberOfSlices >= {n_slices}']
"""


def test_a_pipeline_finds_in_the_archive_what_was_forwarded_and_stores_its_results_there(
    archive_server, scan, tmp_path
):
    values = phantoms.chest_values((16, 80, 96))
    study = phantoms.write_series(tmp_path / "sent", values, name="report into the PACS")
    uid = str(dcmread(study[0], stop_before_pixels=True).StudyInstanceUID)
    port, rules = free_port(), tmp_path / "RULES.toml"
    node = f"{archive_server.aet}@127.0.0.1:{archive_server.dicom_port}"
    rules.write_text(RULES.format(port=port, node=node, url=archive_server.dicomweb_url, n_slices=len(study)))
    with RouterProcess(rules, tmp_path / "home", tmp_path / "log") as router:
        wait_for(lambda: router.check() and scan(port, study))
        wait_for(lambda: router.status("--study", uid).get("state") in {"stored", "failed", "quarantined"})
        told = router.status("--study", uid)
    assert told["state"] == "stored", told
    with Archive(archive_server.dicomweb_url) as archive:
        back = archive.retrieve(uid, tmp_path / "back")
    modalities = Counter(dcmread(path, stop_before_pixels=True).Modality for path in back)
    assert modalities == {"CT": len(study), "OT": 1, "SEG": 1, "SR": 1}


def traces(folder):
    """Everything that a run leaves where no patient may be named."""
    return [*(folder / "back").iterdir(), folder / "log", *(folder / "home").glob("state.*")]


def assert_it_refers_to_its_images(headers):
    """The segmentation refers to images that are in the archive beside it."""
    (segmentation,) = [one for one in headers if one.Modality == "SEG"]
    images = {one.SOPInstanceUID for one in headers if one.Modality == "CT"}
    (series,) = segmentation.ReferencedSeriesSequence
    assert {one.ReferencedSOPInstanceUID for one in series.ReferencedInstanceSequence} <= images
    assert {one.PatientIdentityRemoved for one in headers if one.Modality == "CT"} == {"YES"}
