"""The link table, the way back, and traces over the border."""

from __future__ import annotations

import json

import pytest
from pydicom import dcmread

from claimed_med.cli import main
from claimed_med.dicom import deid_links
from claimed_med.dicom.pseudonyms import Keys
from claimed_med.errors import NOTHING_FOUND, InputError
from claimed_med.testing import phantoms

SECRET = "a secret of more than sixteen bytes"  # noqa: S105 - of a test
NAMES = ("PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID", "SeriesInstanceUID", "StudyDate")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Originals, and the folders of all three components run on them."""
    place = tmp_path_factory.mktemp("links")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLAIMED_MED_SECRET", SECRET)
        patch.setenv("CLAIMED_MED_LINK_SECRET", "the other secret, for those who may")
        phantoms.write("head_mr", place / "in")
        for name, words in (
            ("deidentify-dicom", ["--files", place / "in"]),
            ("link-identities", ["--files", place / "in"]),
            ("reidentify-dicom", ["--objects", place / "deidentify-dicom" / "deidentified"]),
        ):
            links = ["--links", place / "link-identities" / "links"] if name == "reidentify-dicom" else []
            assert main(["run", name, *map(str, [*words, *links]), "--out", str(place / name)]) == 0
    return place


@pytest.fixture
def keys(monkeypatch):
    monkeypatch.setenv("CLAIMED_MED_SECRET", SECRET)
    monkeypatch.setenv("CLAIMED_MED_LINK_SECRET", "the other secret, for those who may")


def test_who_holds_the_table_gets_the_identity_back(runs):
    originals = {str(one.SOPInstanceUID): one for one in map(dcmread, (runs / "in").rglob("*.dcm"))}
    back = {str(one.SOPInstanceUID): one for one in map(dcmread, (runs / "reidentify-dicom").rglob("*.dcm"))}
    assert back.keys() == originals.keys()
    for uid, one in back.items():
        assert [one.get(name) for name in NAMES] == [originals[uid].get(name) for name in NAMES]
        assert one.PixelData == originals[uid].PixelData
        assert "PatientIdentityRemoved" not in one


def test_the_table_says_nothing_without_its_key(runs, keys, monkeypatch):
    table = next((runs / "link-identities" / "links").rglob("report.json")).read_text()
    original = dcmread(next((runs / "in").rglob("*.dcm")))
    assert str(original.StudyInstanceUID) not in table
    assert str(original.PatientID) not in table
    monkeypatch.setenv("CLAIMED_MED_LINK_SECRET", "a guess")
    with pytest.raises(InputError, match="another key"):
        deid_links.unseal([json.loads(table)])


def test_an_altered_table_is_refused(keys):
    sealed = deid_links.seal(deid_links.Links({"P1": {"PatientID": "7"}}, {"2.25.1": "1.2.3"}))
    assert deid_links.seal(deid_links.Links({"P1": {"PatientID": "7"}}, {"2.25.1": "1.2.3"})) == sealed
    assert deid_links.unseal([sealed]).uids == {"2.25.1": "1.2.3"}
    sealed["sealed"] = sealed["sealed"][:-1] + ("A" if sealed["sealed"][-1] != "A" else "B")
    with pytest.raises(InputError, match="altered"):
        deid_links.unseal([sealed])


def test_an_unknown_patient_is_refused(runs, keys, tmp_path, monkeypatch):
    monkeypatch.setenv("CLAIMED_MED_SECRET", "a third secret of sixteen bytes")
    assert main(["run", "link-identities", "--files", str(runs / "in"), "--out", str(tmp_path / "other")]) == 0
    words = ["--objects", str(runs / "deidentify-dicom" / "deidentified"), "--links", str(tmp_path / "other" / "links")]
    assert main(["run", "reidentify-dicom", *words, "--out", str(tmp_path / "back")]) == InputError.exit_code
    assert not list(tmp_path.glob("back/reidentified/**/*.dcm"))


def test_forward_finds_the_object_and_every_run_behind_the_border(runs, keys, capsys):
    original = next((runs / "in").rglob("*.dcm"))
    assert main(["lineage", "forward", str(original), str(runs)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["new_uid"] == Keys(SECRET.encode()).uid(str(dcmread(original).SOPInstanceUID))
    assert any(one.endswith(f"{told['new_uid']}.dcm") for one in told["files"])
    assert {one["component"] for one in told["runs"]} == {"deidentify-dicom", "link-identities", "reidentify-dicom"}


def test_forward_without_the_secret_finds_nothing(runs, keys, capsys, monkeypatch):
    monkeypatch.setenv("CLAIMED_MED_SECRET", "a third secret of sixteen bytes")
    assert main(["lineage", "forward", str(next((runs / "in").rglob("*.dcm"))), str(runs)]) == NOTHING_FOUND
    told = capsys.readouterr()
    assert json.loads(told.out)["runs"] == []
    assert "no run below this folder took it over the border" in told.err


def test_backward_finds_the_original(runs, keys, capsys):
    derived = next((runs / "deidentify-dicom").rglob("2.25*.dcm"))
    assert main(["lineage", "backward", str(derived), str(runs / "link-identities" / "links")]) == 0
    told = json.loads(capsys.readouterr().out)
    originals = {str(dcmread(path).SOPInstanceUID) for path in (runs / "in").rglob("*.dcm")}
    assert told["originals"][told["uid"]] in originals
    assert main(["lineage", "backward", "1.2.3.4.5", str(runs / "link-identities" / "links")]) == NOTHING_FOUND
    told = capsys.readouterr()
    assert json.loads(told.out)["originals"] == {}
    assert "the link table knows neither" in told.err


def test_forward_below_a_folder_without_records_is_an_error_and_no_answer(tmp_path, capsys):
    assert main(["lineage", "forward", "1.2.3", str(tmp_path)]) == InputError.exit_code
    assert "no lineage.json lies below this folder" in capsys.readouterr().err
