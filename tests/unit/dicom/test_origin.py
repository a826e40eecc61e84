"""Series and patient of a file are read straight from its bytes, however it is written."""

from __future__ import annotations

import pytest
from pydicom import Dataset, Sequence, dcmread, dcmwrite
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from claimed_med.dicom import origin
from claimed_med.dicom.origin import origin_of
from claimed_med.secret import pseudonym
from claimed_med.testing import phantoms


@pytest.fixture
def image(tmp_path):
    """An image with sequences in front of its series, one of unknown length, and its origin."""
    phantoms.write("chest_ct", tmp_path / "ct")
    dataset = dcmread(next((tmp_path / "ct").rglob("*.dcm")))
    reference = Dataset()
    reference.ReferencedSOPInstanceUID = "1.2.3"
    for keyword, undefined in (("ReferencedImageSequence", True), ("DeidentificationMethodCodeSequence", False)):
        setattr(dataset, keyword, Sequence([reference]))
        dataset[keyword].is_undefined_length = undefined
    patient = pseudonym("patient", str(dataset.PatientID))
    return dataset, origin.Origin(str(dataset.SOPInstanceUID), str(dataset.SeriesInstanceUID), patient)


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_every_transfer_syntax_tells_the_same(image, tmp_path, syntax):
    dataset, expected = image
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = bytes(len(dataset.PixelData))
    dataset.file_meta.TransferSyntaxUID = syntax
    little = syntax != ExplicitVRBigEndian
    implicit = syntax == ImplicitVRLittleEndian
    dcmwrite(tmp_path / "one", dataset, implicit_vr=implicit, little_endian=little)
    assert origin_of(tmp_path / "one") == expected


def test_a_file_without_preamble_or_with_long_private_elements_tells_the_same(image, tmp_path):
    dataset, expected = image
    dataset.add_new(0x00090010, "LO", "SOMEBODY")
    dataset.add_new(0x00091001, "OB", bytes(20_000))
    dataset.save_as(tmp_path / "long")
    (tmp_path / "bare").write_bytes((tmp_path / "long").read_bytes()[132:])
    assert origin_of(tmp_path / "long") == expected
    assert origin_of(tmp_path / "bare") == expected


def test_the_quick_way_is_taken_by_usual_files_and_agrees_with_the_other(image, tmp_path, monkeypatch):
    image[0].save_as(tmp_path / "one")
    head = (tmp_path / "one").read_bytes()
    quick = origin._plain(head)
    monkeypatch.setattr(origin, "_plain", lambda _: None)
    assert quick is not None
    assert quick == origin._read(head)


@pytest.mark.data
def test_both_ways_agree_on_every_real_file(data, monkeypatch):
    files = [path for path in sorted(data.rglob("*")) if path.is_file() and path.suffix not in {".png", ".csv"}]
    quick = [origin.identifiers_of(path) for path in files]
    monkeypatch.setattr(origin, "_plain", lambda _: None)
    assert [origin.identifiers_of(path) for path in files] == quick
    assert sum(one is not None for one in quick) > 500


@pytest.mark.parametrize("content", [b"", b"DICM", bytes(132) + b"DICM", bytes(128) + b"DICM" + bytes(40), b"x" * 999])
def test_what_is_no_dicom_file_tells_nothing(tmp_path, content):
    (tmp_path / "one").write_bytes(content)
    assert origin_of(tmp_path / "one") is None


def test_an_image_that_ends_before_its_series_tells_nothing(image, tmp_path):
    image[0].save_as(tmp_path / "one")
    content = (tmp_path / "one").read_bytes()
    (tmp_path / "cut").write_bytes(content[:600])
    assert origin_of(tmp_path / "cut") is None


def test_a_key_is_derived_once_for_a_patient(image, tmp_path):
    image[0].save_as(tmp_path / "one")
    known = {}
    assert origin_of(tmp_path / "one", known) == origin_of(tmp_path / "one", known) == image[1]
    assert known == {str(image[0].PatientID): image[1].patient}
