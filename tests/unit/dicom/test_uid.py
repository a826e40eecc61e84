from __future__ import annotations

import re
from io import BytesIO

import highdicom as hd
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from claimed_med.dicom import uid


def make_object(pixels=b"\0\1", **attributes):
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, hd.UID()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", attributes.pop("series", "1.2.4")
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = "20260101", "101010"
    organisation = Dataset()
    organisation.DimensionOrganizationUID = hd.UID()
    pointer = Dataset()
    pointer.DimensionOrganizationUID = organisation.DimensionOrganizationUID
    dataset.DimensionOrganizationSequence, dataset.DimensionIndexSequence = [organisation], [pointer, pointer]
    equipment = Dataset()
    equipment.ContributionDateTime = "20260101101010"
    dataset.ContributingEquipmentSequence = [equipment]
    dataset.PixelData = pixels
    dataset["PixelData"].VR = "OB"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def test_uid_is_valid_and_follows_from_every_part():
    assert re.fullmatch(r"2\.25\.(0|[1-9]\d*)", uid.uid_from("a", "b"))
    assert len(uid.uid_from("a", "b")) <= 64
    assert len({uid.uid_from("a", "b"), uid.uid_from("ab"), uid.uid_from("b", "a"), uid.uid_from("a", "b", "")}) == 4


def test_random_uids_and_clocks_do_not_reach_the_bytes():
    one, two = make_object(), make_object(InstanceCreationTime="202020")
    for dataset in (one, two):
        uid.stamp([dataset], seed="seed")
    assert uid.to_bytes(one) == uid.to_bytes(two)
    assert b"ContributionDateTime" not in repr(one).encode()
    assert "InstanceCreationDate" not in one


def test_dimension_organisation_is_the_same_in_all_its_places():
    dataset = make_object()
    uid.stamp([dataset], seed="seed")
    places = [*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence]
    assert len({item.DimensionOrganizationUID for item in places}) == 1
    assert places[0].DimensionOrganizationUID.startswith("2.25.")


def test_other_pixels_other_instance_same_series():
    one, two = make_object(b"\0\1"), make_object(b"\0\2")
    uid.stamp([one], seed="seed")
    uid.stamp([two], seed="seed")
    assert one.SeriesInstanceUID == two.SeriesInstanceUID == uid.uid_from("seed")
    assert one.SOPInstanceUID != two.SOPInstanceUID


def test_other_seed_other_uids():
    one, two = make_object(), make_object()
    uid.stamp([one], seed="one")
    uid.stamp([two], seed="two")
    assert {one.SeriesInstanceUID, one.SOPInstanceUID}.isdisjoint({two.SeriesInstanceUID, two.SOPInstanceUID})


def test_stamping_twice_changes_nothing():
    dataset = make_object()
    uid.stamp([dataset], seed="seed")
    before = uid.to_bytes(dataset)
    uid.stamp([dataset], seed="seed")
    assert uid.to_bytes(dataset) == before


def test_references_between_stamped_objects_are_kept_right():
    first, second = make_object(), make_object(b"\0\3", series="1.2.5")
    reference = Dataset()
    reference.ReferencedSOPInstanceUID = first.SOPInstanceUID
    second.ReferencedInstanceSequence = [reference]
    old = first.SOPInstanceUID
    renamed = uid.stamp([first, second], seed="seed")
    assert reference.ReferencedSOPInstanceUID == first.SOPInstanceUID == renamed[old]
    assert first.SeriesInstanceUID != second.SeriesInstanceUID


@pytest.mark.parametrize("theirs", ["1.2.840.1", hd.UID(), generate_uid()], ids=["fixed", "highdicom", "pydicom"])
def test_uids_of_the_source_are_untouched(theirs):
    reference = Dataset()
    reference.ReferencedSOPInstanceUID = theirs
    dataset = make_object(SourceImageSequence=[reference], FrameOfReferenceUID=theirs, StudyInstanceUID=theirs)
    uid.stamp([dataset], seed="seed")
    assert dataset.SourceImageSequence[0].ReferencedSOPInstanceUID == theirs
    assert (dataset.StudyInstanceUID, dataset.FrameOfReferenceUID) == (theirs, theirs)


def test_a_random_tracking_uid_becomes_one_that_follows_from_the_content():
    segment = Dataset()
    segment.TrackingUID = hd.UID()
    dataset = make_object(SegmentSequence=[segment])
    uid.stamp([dataset], seed="seed")
    assert segment.TrackingUID.startswith("2.25.")


@pytest.mark.parametrize("times", [1, 2])
def test_file_meta_agrees_with_the_object_and_names_no_machine(times, tmp_path):
    dataset = make_object()
    uid.stamp([dataset], seed="seed")
    for _ in range(times):
        path = uid.write(dataset, tmp_path / "object.dcm")
    assert path.read_bytes() == uid.to_bytes(dataset)
    meta = dcmread(BytesIO(path.read_bytes())).file_meta
    assert meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert meta.ImplementationVersionName == "CLAIMED_MED"
    assert "SourceApplicationEntityTitle" not in meta
