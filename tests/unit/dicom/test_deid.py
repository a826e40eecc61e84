"""De-identification of single objects and of folders."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from claimed_med.cli import main
from claimed_med.dicom import deid_gather, deid_profile
from claimed_med.dicom.deid import Deidentifier
from claimed_med.dicom.deid_check import check
from claimed_med.dicom.pseudonyms import Keys, shifted
from claimed_med.dicom.validate import new_errors
from claimed_med.errors import ContractError, InputError, RefusedError
from claimed_med.payload import sha256_of

SECRET = b"a secret of more than sixteen bytes"
PLANTED = ("NEUMANN", "J\xd6RG", "MRN4711042", "Elmwood", "19470311", "WESTLAKE", "jn@mailbox.example")


def subject(**changes):
    """A small MR object full of what must not stay."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.ImageType = ["ORIGINAL", "PRIMARY"]
    made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    made.SOPInstanceUID = "1.2.3.4"
    made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = "1.2.3.1", "1.2.3.2", "1.2.3.3"
    made.StudyDate = made.SeriesDate = "20111124"
    made.AcquisitionDateTime = "20111124101112.5+0100"
    made.StudyTime = "101112"
    made.AccessionNumber = "ACC295658"
    made.Modality = "MR"
    made.InstitutionName, made.InstitutionAddress = "WESTLAKE GENERAL", "12 Elmwood Terrace, Springfield"
    made.ReferringPhysicianName = "HARTWELL^PAUL"
    made.StudyDescription = "HEAD T1 POST J\xd6RG NEUMANN"
    made.SeriesDescription = "AX T2 FLAIR 5mm MRN4711042"
    made.PatientName, made.PatientID = "NEUMANN^J\xd6RG", "MRN4711042"
    made.PatientBirthDate, made.PatientAge, made.PatientSex = "19470311", "093Y", "M"
    made.PatientComments = "mail jn@mailbox.example, pneumonia in right lower lobe, seen by Dr. Hartwell"
    made.KVP = "120"
    other = Dataset()
    other.PatientID, other.IssuerOfPatientID = "MRN4711042B", "WESTLAKE"
    made.OtherPatientIDsSequence = Sequence([other])
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = made.SOPClassUID, "1.2.3.5"
    made.ReferencedImageSequence = Sequence([reference])
    block = made.private_block(0x77, "ACME HIS 1.0", create=True)
    block.add_new(1, "LO", "J\xd6RG NEUMANN")
    safe = made.private_block(0x19, "SIEMENS MR HEADER", create=True)
    safe.add_new(0x0C, "IS", "1000")
    made.add_new(0x60000010, "US", 4)
    made.add_new(0x60003000, "OW", b"\1\0")
    made.Rows = made.Columns = 4
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation, made.SamplesPerPixel = 15, 0, 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.PixelData = np.arange(16, dtype="<u2").tobytes()
    for keyword, value in changes.items():
        setattr(made, keyword, value)
    return made


def as_bytes(dataset, syntax=ExplicitVRLittleEndian):
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def deidentified(data, profile="research", secret=SECRET, others=()):
    chosen = deid_profile.load(profile)
    looks = [deid_gather.look(one) for one in (data, *others)]
    keys = Keys(secret, chosen.max_shift_days)
    made = Deidentifier(chosen, keys, deid_gather.gather(looks, chosen), looks[0].patient_key).clean(data)
    return made, dcmread(BytesIO(made.data))


@pytest.mark.parametrize("profile", ["research", "strict"])
@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_nothing_that_names_the_patient_stays_in_any_syntax(syntax, profile):
    _, found = deidentified(as_bytes(subject(), syntax), profile)
    assert found.file_meta.TransferSyntaxUID == syntax
    told = str(found)
    assert not [word for word in PLANTED if word.lower() in told.lower()]
    assert np.array_equal(found.pixel_array.ravel(), np.arange(16))
    assert found.Rows == 4


def test_research_keeps_what_studies_need():
    _, found = deidentified(as_bytes(subject()))
    assert found.StudyDescription == "HEAD T1 POST"
    assert found.SeriesDescription == "AX T2 FLAIR 5mm"
    assert "pneumonia in right lower lobe" in found.PatientComments
    assert (found.PatientSex, found.PatientAge, str(found.KVP)) == ("M", "090Y", "120")
    assert found[0x0019100C].value == 1000
    assert found.PatientName == found.PatientID
    assert "" == found.AccessionNumber == found.ReferringPhysicianName
    assert found.StudyTime == "101112"


def test_strict_removes_dates_and_descriptors():
    _, found = deidentified(as_bytes(subject()), "strict")
    assert found.StudyDate == ""
    assert "StudyDescription" not in found
    assert "AcquisitionDateTime" not in found
    assert not [one for one in found if one.tag.is_private]


def test_dates_move_together_and_by_a_secret_number_of_days():
    _, found = deidentified(as_bytes(subject()))
    _, again = deidentified(as_bytes(subject()), secret=b"another secret of sixteen bytes")
    assert found.StudyDate == found.SeriesDate == found.AcquisitionDateTime[:8]
    assert "20061124" < found.StudyDate < "20111124"
    assert found.AcquisitionDateTime[8:] == "101112.5+0100"
    assert again.StudyDate != found.StudyDate


@pytest.mark.parametrize(
    ("value", "moved"),
    [("20200301", "20200229"), ("202003", "202002"), ("2020", "2019"), ("1993.08.22", "19930821"), ("soon", "")],
)
def test_dates_of_every_form_move(value, moved):
    assert shifted(value, 1) == moved


def test_identifiers_are_consistent_over_objects_and_follow_from_the_secret():
    first, one = deidentified(as_bytes(subject()))
    _, other = deidentified(as_bytes(subject(SOPInstanceUID="1.2.3.5")))
    _, foreign = deidentified(as_bytes(subject()), secret=b"another secret of sixteen bytes")
    assert one.StudyInstanceUID == other.StudyInstanceUID
    assert one.ReferencedImageSequence[0].ReferencedSOPInstanceUID == other.SOPInstanceUID
    assert one.PatientID == other.PatientID
    assert foreign.StudyInstanceUID != one.StudyInstanceUID
    assert foreign.PatientID != one.PatientID
    assert first.data == deidentified(as_bytes(subject()))[0].data


def test_an_identifier_of_another_object_of_the_patient_is_found():
    other = as_bytes(subject(OperatorsName="QUIMBYSON^SUE"))
    _, found = deidentified(as_bytes(subject(ProtocolName="BRAIN QUIMBYSON")), others=[other])
    assert found.ProtocolName == "BRAIN"


def test_an_identifier_in_an_attribute_that_stays_is_taken_out():
    _, found = deidentified(as_bytes(subject(SoftwareVersions="v1 NEUMANN", SequenceName="*tfl MRN4711042")))
    assert "NEUMANN" not in str(found)
    assert "MRN4711042" not in str(found)
    assert found.SoftwareVersions == "v1"


def test_structured_content_is_cleaned():
    report = subject(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33", Modality="SR")
    for keyword in ("PixelData", "Rows", "Columns"):
        del report[keyword]
    items = []
    for kind, code, keyword, value in (
        ("TEXT", "121071", "TextValue", "Nodule in left lung of NEUMANN on 2011-11-24"),
        ("PNAME", "121008", "PersonName", "HARTWELL^PAUL"),
        ("UIDREF", "112040", "UID", "1.2.3.99"),
        ("TEXT", "121022", "TextValue", "ACC295658"),
    ):
        item, concept = Dataset(), Dataset()
        concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning = code, "DCM", "x"
        item.RelationshipType, item.ValueType, item.ConceptNameCodeSequence = "CONTAINS", kind, [concept]
        setattr(item, keyword, value)
        items.append(item)
    report.ContentSequence = items
    _, found = deidentified(as_bytes(report))
    told = " ".join(str(one.get("TextValue", "")) for one in found.ContentSequence) + str(found.ContentSequence)
    assert "Nodule in left lung" in told
    assert "NEUMANN" not in told
    assert "HARTWELL" not in told
    assert "ACC295658" not in told
    assert "1.2.3.99" not in told


@pytest.mark.parametrize("profile", ["research", "strict"])
def test_outputs_have_no_error_that_the_inputs_lack(data, tmp_path, profile):
    folders = ("rt_sarcoma", "sr_tid1500_dcmqi", "seg_liver_ct3", "highdicom_test_files", "enhanced_mr", "burned_in")
    worse = {}
    for number, path in enumerate(sorted(one for name in folders for one in (data / name).rglob("*.dcm"))):
        if number % 4:
            continue
        made, _ = deidentified(path.read_bytes(), profile)
        target = tmp_path / f"{number}.dcm"
        target.write_bytes(made.data)
        if new := new_errors(target, [path]):
            worse[path.name] = new
    assert not worse


def test_segmentation_still_fits_its_series(data):
    files = sorted((data / "seg_liver_ct3").rglob("*.dcm"))
    found = [deidentified(path.read_bytes())[1] for path in files]
    images = {one.SOPInstanceUID for one in found if one.Modality == "CT"}
    liver = next(one for one in found if one.Modality == "SEG" and "ReferencedSeriesSequence" in one)
    referred = {
        one.ReferencedSOPInstanceUID
        for series in liver.ReferencedSeriesSequence
        for one in series.ReferencedInstanceSequence
    }
    assert referred
    assert referred <= images


@pytest.mark.parametrize("profile", ["research", "strict"])
def test_structures_still_lie_in_the_planes_they_name(data, profile):
    folder = data / "rt_phantom_misc"  # its structures name images that are here, in a frame of reference of their own
    images = [deidentified((folder / name).read_bytes(), profile)[1] for name in ("ct_1.dcm", "ct_2.dcm")]
    planes = {one.SOPInstanceUID: float(one.ImagePositionPatient[2]) for one in images}
    before, after = dcmread(folder / "rt.dcm"), deidentified((folder / "rt.dcm").read_bytes(), profile)[1]
    pairs = [
        (old, new)
        for olds, news in zip(before.ROIContourSequence, after.ROIContourSequence, strict=True)
        for old, new in zip(olds.ContourSequence, news.ContourSequence, strict=True)
    ]
    assert pairs
    for old, new in pairs:
        assert new.ContourData == old.ContourData
        assert float(new.ContourData[2]) == planes[new.ContourImageSequence[0].ReferencedSOPInstanceUID]


@pytest.mark.parametrize("profile", ["research", "strict"])
@pytest.mark.parametrize("name", ["CT", "MR_T1", "PET"])
def test_structures_stay_in_the_frame_of_reference_of_their_series(data, name, profile):
    folder = data / "rt_sarcoma" / "STS_043" / name
    paths = [next((folder / part).glob("*.dcm")) for part in ("image", "mask")]
    image, structures = (deidentified(path.read_bytes(), profile)[1] for path in paths)
    frames = {one.ReferencedFrameOfReferenceUID for one in structures.StructureSetROISequence}
    assert frames == {image.FrameOfReferenceUID}
    assert image.FrameOfReferenceUID != dcmread(paths[0]).FrameOfReferenceUID


def test_a_deflated_bomb_is_refused(monkeypatch):
    monkeypatch.setattr("claimed_med.dicom.elements.MOST_INFLATED", 1 << 20)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    head = as_bytes(subject(), DeflatedExplicitVRLittleEndian)
    meta = head[: 132 + 12 + int.from_bytes(head[140:144], "little")]
    bomb = meta + packer.compress(bytes(1 << 22)) + packer.flush()
    with pytest.raises(InputError, match="1 GiB"):
        deid_gather.look(bomb)


def test_a_directory_of_files_is_refused():
    listing = as_bytes(subject(SOPClassUID="1.2.840.10008.1.3.10"))
    with pytest.raises(RefusedError, match="DICOMDIR"):
        deidentified(listing)


def test_profile_with_a_slip_is_refused():
    with pytest.raises(ContractError, match="unknown option"):
        deid_profile.load('name = "x"\noptions = ["keep_all"]\n')
    with pytest.raises(ContractError, match="unknown"):
        deid_profile.load("lenient")
    with pytest.raises(ContractError, match="exception"):
        deid_profile.load('name = "x"\n[exceptions]\nPatientName = "Q"\n')


def test_exception_of_a_profile_wins():
    profile = 'name = "mine"\noptions = []\n[exceptions]\nStationName = "K"\n'
    made, found = deidentified(as_bytes(subject(StationName="CT7")), profile)
    assert found.StationName == "CT7"
    assert made.counts["InstitutionName", "X"] == 1


@pytest.mark.parametrize(
    ("option", "kept"),
    [
        ("retain_institution_identity", {"InstitutionName": "WESTLAKE GENERAL"}),
        ("retain_device_identity", {"StationName": "CT7ROOM", "DeviceSerialNumber": "SN1234567"}),
        ("retain_uids", {"StudyInstanceUID": "1.2.3.1", "SOPInstanceUID": "1.2.3.4"}),
        ("retain_longitudinal_full_dates", {"StudyDate": "20111124", "AcquisitionDateTime": "20111124101112.5+0100"}),
        ("retain_patient_characteristics", {"PatientAge": "090Y", "PatientSex": "M"}),
        ("clean_descriptors", {"StudyDescription": "HEAD T1 POST", "SeriesDescription": "AX T2 FLAIR 5mm"}),
    ],
)
def test_each_option_keeps_what_it_names_and_nothing_else(option, kept):
    others = {"StationName": "CT7ROOM", "DeviceSerialNumber": "SN1234567"}
    _, found = deidentified(as_bytes(subject(**others)), f'name = "one"\noptions = ["{option}"]\nmax_shift_days = 9\n')
    assert {keyword: str(found.get(keyword)) for keyword in kept} == kept
    _, basic = deidentified(as_bytes(subject(**others)), 'name = "none"\noptions = []\n')
    assert not {keyword for keyword, value in kept.items() if str(basic.get(keyword, "")) == value}
    assert found.PatientID == basic.PatientID != "MRN4711042"


def test_show_explains_what_a_profile_does(capsys):
    assert main(["show", "research"]) == 0
    told = capsys.readouterr().out
    assert "Patient's Birth Date" in told
    assert "emptied" in told


def test_check_finds_what_was_put_back(tmp_path):
    made, found = deidentified(as_bytes(subject()))
    clean = tmp_path / "clean.dcm"
    clean.write_bytes(made.data)
    research = deid_profile.load("research")
    assert not check([clean], research).findings
    found.InstitutionName, found.PatientID, found.StudyInstanceUID = "WESTLAKE", "MRN4711042", "1.2.3.1"
    found.StudyDescription = "HEAD 12.03.1947"
    found.save_as(tmp_path / "left.dcm")
    told = {one["attribute"] for one in check([tmp_path / "left.dcm"], research).as_list()}
    assert told == {"InstitutionName", "PatientID", "StudyInstanceUID", "StudyDescription"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CLAIMED_MED_SECRET", SECRET.decode())
    source = tmp_path / "NEUMANN"
    source.mkdir()
    (source / "a NEUMANN.dcm").write_bytes(as_bytes(subject()))
    (source / "b.dcm").write_bytes(as_bytes(subject(SOPInstanceUID="1.2.3.5")))
    (source / "other.dcm").write_bytes(as_bytes(subject(PatientID="OTHER17", SOPInstanceUID="1.2.3.6")))
    (source / "cut.dcm").write_bytes(as_bytes(subject(SOPInstanceUID="1.2.3.7"))[:-20])
    (source / "notes.txt").write_text("NEUMANN")
    return source


def _run(folder, out):
    return main(["run", "deidentify-dicom", "--files", str(folder), "--out", str(out)])


def test_records_lead_back_to_no_source(folder, tmp_path, capsys):
    assert _run(folder, tmp_path / "out") == 0
    told = capsys.readouterr()
    records = [path.read_text() for path in (tmp_path / "out").rglob("*.json")]
    digests = [sha256_of(path) for path in folder.iterdir()]
    for text in [*records, told.out, told.err]:
        for word in (*PLANTED, "1.2.3.4", "1.2.3.5", *(one[:12] for one in digests), SECRET.decode()):
            assert word not in text
    table = json.loads((tmp_path / "out" / "deidentified" / "units.json").read_text())
    assert [one["status"] for one in table["units"]] == ["done", "done"]
    assert len(list((tmp_path / "out" / "deidentified").rglob("*.dcm"))) == 3


def test_a_damaged_file_is_refused_and_the_others_go_on(folder, tmp_path):
    assert _run(folder, tmp_path / "out") == 0
    table = json.loads((tmp_path / "out" / "deidentified" / "units.json").read_text())
    audits = [json.loads(path.read_text()) for path in (tmp_path / "out" / "audit").rglob("report.json")]
    assert sum(one["n_deidentified"] for one in audits) == 3
    assert len(table["skipped"]) + sum(one["n_refused"] for one in audits) == 2


def test_gate_blesses_exactly_what_was_checked(folder, tmp_path):
    out = tmp_path / "out"
    assert _run(folder, out) == 0
    words = ["--deidentified", str(out / "deidentified"), "--audit", str(out / "audit")]
    assert main(["run", "check-deidentification", *words, "--out", str(tmp_path / "checked")]) == 0
    assert (tmp_path / "checked" / "verdict").read_text() == "blessed"
    kept = next((out / "deidentified").rglob("2.25*.dcm"))
    changed = dcmread(kept)
    changed.PatientBirthDate = "19470311"
    changed.save_as(kept)
    assert main(["run", "check-deidentification", *words, "--out", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "verdict").read_text() == "refused"
    assert "19470311" not in (tmp_path / "again" / "findings" / "report.json").read_text()


def test_many_files_of_one_patient_are_shared_among_workers(tmp_path, monkeypatch):
    monkeypatch.setenv("CLAIMED_MED_SECRET", SECRET.decode())
    source = tmp_path / "in"
    source.mkdir()
    for number in range(70):
        (source / f"{number}.dcm").write_bytes(as_bytes(subject(SOPInstanceUID=f"1.2.3.{100 + number}")))
    outs = []
    for workers in ("1", "2"):
        monkeypatch.setenv("CLAIMED_MED_WORKERS", workers)
        assert _run(source, tmp_path / workers) == 0
        outs.append({path.name: path.read_bytes() for path in (tmp_path / workers).rglob("2.25*.dcm")})
    assert len(outs[0]) == 70
    assert outs[0] == outs[1]


def test_benchmark_of_synthetic_identities_scores_full(data, tmp_path, monkeypatch):
    scorer = data.parent / "tools" / "score_deid.py"
    if not scorer.is_file():
        pytest.skip("the scorer of the benchmark is absent")
    monkeypatch.setenv("CLAIMED_MED_SECRET", SECRET.decode())
    assert _run(data / "phi_bench" / "dicom", tmp_path / "out") == 0
    words = [sys.executable, str(scorer), str(data / "phi_bench"), str(tmp_path / "out" / "deidentified")]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    score = float(told.split("SCORE ")[1].split("%")[0])
    assert score > 99.5
    assert "left anywhere: 0 /" in told
    assert Path(tmp_path / "out" / "audit").is_dir()
