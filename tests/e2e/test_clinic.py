"""The whole way of a model into the clinic, with real servers: blessed, deployed, served, stored, watched, told.

The short form takes a small model through the gate; the long one (`slow`) a model that the training pipeline blessed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from pydicom import dcmread

import claimed_med as cm
from claimed_med.cli import main
from claimed_med.dicom.web import Archive
from claimed_med.payload import folder_digest
from claimed_med.prediction_log import PredictionLog
from claimed_med.secret import keyed_hash
from claimed_med.testing import browser, xrays
from claimed_med.testing.serving import classifier, refused, serving, watching

pytestmark = pytest.mark.xdist_group("clinic")
SECRET = "the secret of this hospital"  # noqa: S105 - of a test
WINDOW = 40  # images; of 30 patients
POLICY = """
name = "one figure"
[[require]]
report = "performance"
metric = "auc"
comparison = ">="
limit = 0.7
"""


@dataclass
class Clinic:
    """What is there when the model has worked for a while.

    Attributes:
        folder: Of everything.
        run: Of deploy_blessed_model.
        digest: Of the model.
        study: UID of the study that lay in the archive.
        sop: Of its image.
        answer: What the server said of it.
        explained: What it said when it was asked why.
        audit: Its audit lines.
        record: Of its predictions.
        reference: Table of what the model was validated on.
    """

    folder: Path
    run: Path
    digest: str
    study: str
    sop: str
    answer: dict
    explained: dict
    audit: list
    record: Path
    reference: Path


@pytest.fixture(scope="module")
def environment():
    """A hospital's secret, so that signatures are looked at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLAIMED_MED_SECRET", SECRET)
        patch.delenv("KUBECONFIG", raising=False)
        yield patch


@pytest.fixture(scope="module")
def blessed(tmp_path_factory, environment):
    """A bundle, and a decision of the gate on it."""
    return through_the_gate(classifier(tmp_path_factory.mktemp("model") / "bundle"), 0.9)


@pytest.fixture(scope="module")
def clinic(blessed, archive_server, tmp_path_factory):
    """The short form."""
    return in_use(*blessed, archive_server.dicomweb_url, tmp_path_factory.mktemp("clinic"))


def through_the_gate(bundle, auc, name="decision"):
    model = cm.ModelBundle(bundle)
    told = {"kind": "x", "model_digest": model.load().digest}
    measured = cm.Report({**told, "metrics": [{"name": "auc", "group": "all", "value": auc, "note": ""}]})
    empty = cm.Report({**told, "metrics": []})
    made = cm.bless_model(model, measured, empty, empty, empty, policy=POLICY)
    made.decision.save(bundle.parent / name)
    return bundle, bundle.parent / name


def run(name, out, **parameters):
    words = [word for pair in parameters.items() for word in ("--set", f"{pair[0]}={pair[1]}")]
    return main(["pipeline", "run", name, *words, "--out", str(out), "--no-cache"])


def in_use(bundle, decision, url, folder):
    """Deploy, serve, call with a study of the archive, and let three windows of cases come."""
    given = {"path": bundle, "decision_path": decision, "storage_uri": "s3://models/xray", "archives": url}
    assert run("deploy_blessed_model", folder / "run", **given) == 0
    before, first, second = (cases(folder / name, seed, n) for name, seed, n in PARTS)
    changed(second)
    words = ["--allow-origin", url, "--lineage", str(folder / "lineage"), "--pictures", str(folder / "pictures")]
    servable = folder / "run" / "package-model" / "servable"
    with serving(servable, folder / "server", *words) as running, Archive(url) as archive:
        send(running, list(before))
        reference = tabled(running.log, folder / "reference", before)
        archived = next(iter(first))
        archive.store([archived])
        header = dcmread(archived, stop_before_pixels=True)
        asked = {"url": f"{url}/studies/{header.StudyInstanceUID}", "store": url}
        answer = requests.post(f"{running.url}/v1/models/model:predict", json=asked, timeout=300)
        send(running, list(first)[1:])
        send(running, list(second))
        explained = requests.post(f"{running.url}/v1/models/model:explain", json=asked, timeout=300)
        audit = running.lines()
    assert (answer.status_code, explained.status_code) == (200, 200), (answer.text, explained.text)
    arrived(running.log, first | second)
    study, sop = str(header.StudyInstanceUID), str(header.SOPInstanceUID)
    digest = folder_digest(bundle)
    return Clinic(
        folder, folder / "run", digest, study, sop, answer.json(), explained.json(), audit, running.log, reference
    )


PARTS = (("before", 11, 60), ("first", 12, 30), ("second", 13, 30))


def cases(folder, seed, n_patients):
    """DICOM file -> the truth."""
    made = xrays.xrays(folder / "pictures", n_patients=n_patients, seed=seed)
    taken = cm.import_xrays(folder=str(made / "images"), table=str(made / "labels.csv"))
    taken.images.save(folder / "series")
    truth = dict(taken.labels.load()[["sop_uid", "label"]].itertuples(index=False))
    found = sorted((folder / "series").rglob("*.dcm"))
    return {path: truth[str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)] for path in found}


def changed(files):
    """Another scanner, that shows everything darker."""
    for path in files:
        image = dcmread(path)
        image.Manufacturer, image.ManufacturerModelName = "Other", "Darker 1"
        image.PixelData = (image.pixel_array * 0.6).astype("uint8").tobytes()
        image.save_as(path)


def send(running, files):
    uploads = [("file", path.read_bytes()) for path in files]
    head = {"Accept": "application/json"}
    answer = requests.post(f"{running.url}/v1/models/model:predict", files=uploads, headers=head, timeout=600)
    assert answer.status_code == 200, answer.text
    assert {one["outcome"] for one in answer.json()["predictions"]} == {"answered"}


def arrived(record, truth):
    """The truth of the cases arrives."""
    log = PredictionLog(str(record))
    for path, label in truth.items():
        key = keyed_hash("uid", str(dcmread(path, stop_before_pixels=True).SOPInstanceUID))
        assert log.add_truth(key, label, at=2e9) == 1
    log.close()


def tabled(record, folder, truth):
    """What the server recorded so far, with its truth: what the model was validated on."""
    arrived(record, truth)
    assert main(["run", "load-predictions", "--url", str(record), "--out", str(folder)]) == 0
    assert len(cm.Table(folder / "predictions").load()) == len(truth)
    return folder / "predictions"


def newer(clinic):
    """A record without the cases that the model was validated on, as after the retention time."""
    target = clinic.folder / "newer.sqlite"
    if not target.exists():
        log, copy = PredictionLog(str(clinic.record)), PredictionLog(str(target))
        copy.append(log.read(last=2 * WINDOW))
        log.close()
        copy.close()
    return target


def test_the_pipeline_packages_and_deploys_what_the_gate_blessed(clinic, blessed):
    report = json.loads((clinic.run / "deploy-kserve" / "deployment" / "report.json").read_text())
    assert (report["state"], report["bundle_digest"]) == ("written", clinic.digest)
    assert folder_digest(clinic.run / "package-model" / "servable" / "bundle") == clinic.digest
    record = json.loads((clinic.run / "package-model" / "servable" / "lineage.json").read_text())
    assert record["units"][0]["statements"]["blessing"] == "signed"
    (start,) = [one for one in clinic.audit if one["kind"] == "start"]
    assert [(one["model_digest"], one["blessing"]) for one in start["models"]] == [(clinic.digest, "signed")]


def test_what_was_stored_in_the_archive_leads_back_to_model_and_source(clinic, archive_server, tmp_path, capsys):
    with Archive(archive_server.dicomweb_url) as archive:
        archive.retrieve(clinic.study, tmp_path / "study")
    files = {path: dcmread(path, stop_before_pixels=True) for path in (tmp_path / "study").iterdir()}
    modalities = sorted(one.Modality for one in files.values())
    assert modalities == ["CR", "OT", "OT", "SR"]
    assert set(clinic.answer["stored"]) | set(clinic.explained["stored"]) | {clinic.sop} == {
        str(one.SOPInstanceUID) for one in files.values()
    }
    report = next(path for path, one in files.items() if one.Modality == "SR")
    database = ["--db", str(tmp_path / "index.sqlite")]
    assert main(["lineage", "index", *database, str(clinic.run), str(clinic.folder / "lineage")]) == 0
    capsys.readouterr()
    assert main(["lineage", "trace", *database, "--format", "json", str(report)]) == 0
    told = json.loads(capsys.readouterr().out)
    text = json.dumps(told)
    assert clinic.digest in text
    assert clinic.sop in text
    assert "classify-images" in text
    assert "load-model" in text
    assert keyed_hash("uid", clinic.study)[:16] in json.dumps(clinic.audit)
    assert "XRAYPATIENT" not in text + json.dumps(clinic.audit)


def test_a_planted_change_is_measured_and_mailed_once(clinic, mailbox, tmp_path):
    address, mails = mailbox
    given = {"reference": clinic.reference, "record": newer(clinic), "window": WINDOW, "mail_server": address,
             "mail_from": "a@b.example", "mail_to": "team@b.example", "told": tmp_path / "told.sqlite"}  # fmt: skip
    for number in range(2):
        assert run("monitor_deployed_model", tmp_path / str(number), **given) == 0
    windows = json.loads((tmp_path / "0" / "measure-drift" / "drift" / "report.json").read_text())["windows"]
    assert [bool(one["causes"]) for one in windows] == [False, True]
    assert {"scanner", "intensity_mean"} <= set(windows[1]["causes"])
    (mail,) = mails
    assert "no longer those" in mail.get_payload(decode=True).decode()


@pytest.mark.browser
def test_the_page_shows_the_change_and_the_case_with_its_explanation(clinic, tmp_path):
    browser.require_installed()
    words = [
        "--reference",
        str(clinic.reference),
        "--window",
        str(WINDOW),
        "--pictures",
        str(clinic.folder / "pictures"),
    ]
    with watching(str(newer(clinic)), *words) as page, browser.chromium(tmp_path) as driver:
        driver.get(f"{page}/models/{clinic.digest}")
        assert "no longer those" in driver.find_element("css selector", ".alerts").text
        driver.get(f"{page}/models/{clinic.digest}/windows/2")
        row = next(one for one in driver.find_elements("css selector", "tr") if one.text.startswith("scanner"))
        assert "Darker 1" in row.text
        driver.get(f"{page}/models/{clinic.digest}/cases/{explained_case(clinic)}")
        legends = [one.text for one in driver.find_elements("css selector", "figcaption")]
        assert legends[0] == "Overview"
        assert "Explanation by grad cam" in legends[1]
        sizes = [one.get_property("naturalWidth") for one in driver.find_elements("css selector", "figure img")]
        assert sizes[0] == xrays.SIZE
        assert sizes[1] >= 2 * xrays.SIZE
        driver.save_screenshot(str(clinic.folder / "case.png"))


def explained_case(clinic):
    (one,) = clinic.explained["explanations"]
    log = PredictionLog(str(clinic.record))
    (case,) = [row.prediction_id for row in log.read() if row.unit_key == one["key"]]
    log.close()
    return case


@pytest.mark.parametrize("fault", ["unblessed", "altered", "differently blessed", "signed elsewhere"])
@pytest.mark.slow
def test_nothing_unblessed_passes_pipeline_or_server(fault, blessed, tmp_path, monkeypatch):
    bundle, decision = tmp_path / "bundle", blessed[1]
    classifier(bundle, seed=1 if fault == "differently blessed" else 0)
    if fault == "unblessed":
        decision = through_the_gate(bundle, 0.5)[1]
    if fault == "altered":
        path = bundle / "bundle.json"
        path.write_text(path.read_text().replace('"threshold": 0.5', '"threshold": 0.9'))
    if fault == "signed elsewhere":
        monkeypatch.setenv("CLAIMED_MED_SECRET", "another secret")
    given = {"path": bundle, "decision_path": decision, "storage_uri": "s3://models/xray"}
    assert run("deploy_blessed_model", tmp_path / "run", **given) == 6
    assert not (tmp_path / "run" / "package-model" / "servable").exists()
    assert not (tmp_path / "run" / "deploy-kserve" / "deployment").exists()
    assert refused(bundle, tmp_path / "s", "--decision", str(decision))[0] == 6
    words = ["--bundle", str(bundle), "--decision", str(decision), "--override", "ticket 7"]
    assert main(["run", "package-model", *words, "--out", str(tmp_path / "forced")]) == 0
    servable = tmp_path / "forced" / "servable"
    told = json.loads((servable / "lineage.json").read_text())["units"][0]["statements"]
    assert told == {"blessing": "none", "blessing_override": "ticket 7"}
    assert refused(servable, tmp_path / "t")[0] == 6
    (image,) = list(cases(tmp_path / "case", 1, 1))
    kept = tmp_path / "lineage"
    with serving(servable, tmp_path / "u", "--override", "ticket 7", "--lineage", str(kept)) as running:
        send(running, [image])
    (record,) = kept.rglob("lineage.json")
    assert json.loads(record.read_text())["units"][0]["statements"]["blessing_override"] == "ticket 7"


@pytest.mark.slow
def test_a_model_of_the_training_pipeline_goes_all_the_way(archive_server, environment, mailbox, tmp_path, capsys):
    """From pictures to a mail: training, gate, deployment, archive, drift; each by its command."""
    made = xrays.xrays(tmp_path / "data", n_patients=96)
    options = {"recipe": "xray_small", "policy": POLICY, "n_explained": 2, "n_attacked": 8, "n_bootstrap": 200}
    given = {"folder": made / "images", "table": made / "labels.csv", **options}
    words = [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
    trained = tmp_path / "trained"
    command = [sys.executable, "-m", "claimed_med", "pipeline", "run", "train_trusted_classifier", *words]
    assert subprocess.run([*command, "--out", str(trained)], check=False).returncode == 0
    bundle, decision = trained / "train-classifier" / "bundle", trained / "bless-model" / "decision"
    clinic = in_use(bundle, decision, archive_server.dicomweb_url, tmp_path / "clinic")
    test_a_planted_change_is_measured_and_mailed_once(clinic, mailbox, tmp_path)
    windows = json.loads((tmp_path / "0" / "measure-drift" / "drift" / "report.json").read_text())["windows"]
    assert windows[0]["performance"]["auc"]["value"] > 0.8
    with Archive(archive_server.dicomweb_url) as archive:
        archive.retrieve(clinic.study, tmp_path / "study")
    report = next(
        one for one in (tmp_path / "study").iterdir() if dcmread(one, stop_before_pixels=True).Modality == "SR"
    )
    database = ["--db", str(tmp_path / "index.sqlite")]
    places = [str(one) for one in (trained, clinic.run, clinic.folder / "lineage")]
    assert main(["lineage", "index", *database, *places]) == 0
    capsys.readouterr()
    assert main(["lineage", "trace", *database, "--format", "json", str(report)]) == 0
    text = capsys.readouterr().out
    for component in ("classify-images", "train-classifier", "split-cohort", "import-xrays"):
        assert component in text
