from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread

from claimed_med.dicom import seg, uid, validate
from claimed_med.dicom.codes import SegmentDefinition, segment_table
from claimed_med.errors import ContractError, InputError

KINDS = ("BINARY", "FRACTIONAL", "LABELMAP")
ORIENTATIONS = (
    "axial", "axial descending", "axial mirrored", "sagittal", "sagittal descending", "coronal", "coronal descending",
    "oblique", "oblique descending",
)  # fmt: skip


def volume(array, series):
    return hd.Volume(
        array, series.affine, "PATIENT", frame_of_reference_uid=series.headers[0].get("FrameOfReferenceUID")
    )


def reread(dataset):
    return dcmread(BytesIO(uid.to_bytes(dataset)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_dcmqi_finds_the_same_voxels_in_the_same_place(
    orientation, kind, made_series, two_boxes, read_by_dcmqi, tmp_path
):
    source = made_series(orientation)
    encoded = seg.encode(volume(two_boxes, source), source=source, segments="lungs", kind=kind)
    path = uid.write(encoded, tmp_path / "seg.dcm")
    found = read_by_dcmqi(path, (1, 2), kind)
    for number, points in found.items():
        indices = np.argwhere(two_boxes == number)
        expected = (source.affine @ np.c_[indices, np.ones(len(indices))].T).T[:, :3]
        order, wanted = np.lexsort(np.round(points, 3).T), np.lexsort(np.round(expected, 3).T)
        assert points.shape == expected.shape
        assert points.mean(0) == pytest.approx(expected.mean(0), abs=1e-3)
        assert points[order] == pytest.approx(expected[wanted], abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", ["axial", "sagittal descending", "oblique"])
def test_reading_gives_back_what_was_written(orientation, kind, made_series, two_boxes):
    source = made_series(orientation)
    encoded = reread(seg.encode(volume(two_boxes, source), source=source, segments="lungs", kind=kind))
    assert np.array_equal(seg.merge(seg.decode(encoded, source)).array, two_boxes)


def test_own_grid_holds_the_same_points(made_series, two_boxes):
    source = made_series("oblique descending")
    first = seg.decode(seg.encode(volume(two_boxes, source), source=source, segments="lungs"))[0].mask
    points = (first.affine @ np.c_[np.argwhere(first.array), np.ones(first.array.sum())].T)[:3]
    expected = (source.affine @ np.c_[np.argwhere(two_boxes == 1), np.ones((two_boxes == 1).sum())].T)[:3]
    assert points.mean(1) == pytest.approx(expected.mean(1), abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_objects_are_valid_dicom(kind, made_series, two_boxes):
    source = made_series()
    encoded = seg.encode(volume(two_boxes, source), source=source, segments="lungs", kind=kind)
    assert validate.errors(validate.validate(encoded)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_found_is_a_valid_object_that_lists_every_segment(kind, made_series, two_boxes):
    source = made_series()
    encoded = seg.encode(volume(np.zeros_like(two_boxes), source), source=source, segments="lungs", kind=kind)
    assert [segment.label for segment in seg.decode(encoded, source)] == ["Right lung", "Left lung"]
    assert validate.errors(validate.validate(encoded)) == []
    assert not seg.merge(seg.decode(reread(encoded), source)).array.any()


def test_a_segment_without_voxels_is_listed(made_series, two_boxes):
    source = made_series()
    encoded = seg.encode(volume(np.where(two_boxes == 1, 0, two_boxes), source), source=source, segments="lungs")
    right, left = seg.decode(reread(encoded), source)
    assert not right.mask.array.any()
    assert np.array_equal(left.mask.array, two_boxes == 2)


def test_every_source_instance_is_referenced_and_each_frame_its_own(made_series, two_boxes):
    source = made_series("coronal")
    encoded = seg.encode(volume(two_boxes, source), source=source, segments="lungs")
    assert [item.ReferencedSOPInstanceUID for item in encoded.SourceImageSequence] == [
        header.SOPInstanceUID for header in source.headers
    ]
    by_position = {tuple(header.ImagePositionPatient): header.SOPInstanceUID for header in source.headers}
    for frame in encoded.PerFrameFunctionalGroupsSequence:
        item = frame.DerivationImageSequence[0].SourceImageSequence[0]
        assert item.ReferencedSOPInstanceUID == by_position[tuple(frame.PlanePositionSequence[0].ImagePositionPatient)]
        assert item.SpatialLocationsPreserved == "YES"


def test_labels_on_another_grid_keep_their_own_grid_and_all_references(made_series):
    source = made_series()
    affine = np.array([[0, 0, 1.2, -31], [0, 1.1, 0, 12], [1.3, 0, 0, 99], [0, 0, 0, 1.0]])
    labels = np.zeros((20, 14, 13), np.uint8)
    labels[4:12, 3:9, 2:8] = 1
    encoded = reread(seg.encode(hd.Volume(labels, affine, "PATIENT"), source=source, segments="body"))
    assert len(encoded.SourceImageSequence) == len(source.headers)
    own = seg.decode(encoded)[0].mask
    assert own.array.sum() == labels.sum()
    assert own.spacing == pytest.approx((1.3, 1.1, 1.2))
    on_source = seg.decode(encoded, source)[0].mask
    centre = on_source.affine @ [*np.argwhere(on_source.array).mean(0), 1]
    assert centre == pytest.approx(affine @ [*np.argwhere(labels).mean(0), 1], abs=1.3)


def test_positions_within_the_tolerance_of_evenness_are_the_sources_own(made_series, two_boxes):
    source = made_series(jitter_mm=0.008)
    encoded = seg.encode(volume(two_boxes, source), source=source, segments="lungs")
    positions = {tuple(header.ImagePositionPatient) for header in source.headers}
    for frame in encoded.PerFrameFunctionalGroupsSequence:
        assert tuple(frame.PlanePositionSequence[0].ImagePositionPatient) in positions


def test_overlapping_masks_survive_and_do_not_merge(made_series):
    source = made_series()
    masks = np.zeros((*source.shape, 2), np.uint8)
    masks[2:6, 2:10, 2:10, 0] = 1
    masks[4:8, 5:15, 5:15, 1] = 1
    stacked = hd.Volume(masks, source.affine, "PATIENT", channels={"SegmentNumber": [1, 2]})
    decoded = seg.decode(reread(seg.encode(stacked, source=source, segments="lungs")), source)
    assert all(np.array_equal(segment.mask.array, masks[..., i] > 0) for i, segment in enumerate(decoded))
    with pytest.raises(InputError, match="overlap"):
        seg.merge(decoded)


def test_probabilities_are_kept_within_a_step_of_255(made_series):
    source = made_series()
    chance = np.random.default_rng(0).random(source.shape, dtype=np.float32)
    encoded = seg.encode(volume(chance, source), source=source, segments="body", kind="FRACTIONAL")
    pixels = reread(encoded).pixel_array
    for pixel, frame in zip(pixels, encoded.PerFrameFunctionalGroupsSequence, strict=True):
        position = [*frame.PlanePositionSequence[0].ImagePositionPatient, 1]
        slice_index = round((np.linalg.inv(source.affine) @ position)[0])
        assert pixel / 255 == pytest.approx(chance[slice_index], abs=1 / 500)


def test_frames_whose_size_is_no_multiple_of_eight_bits_are_read_right(made_series):
    source = made_series(shape=(5, 7, 9))
    labels = np.random.default_rng(1).integers(0, 3, (5, 7, 9)).astype(np.uint8)
    encoded = reread(seg.encode(volume(labels, source), source=source, segments="lungs"))
    assert np.array_equal(seg.merge(seg.decode(encoded, source)).array, labels)


@pytest.mark.parametrize(
    ("labels", "kind", "complaint"),
    [
        (np.full((12, 20, 24), 3, np.uint8), "BINARY", "outside the segment table"),
        (np.full((12, 20, 24), -1, np.int16), "BINARY", "outside the segment table"),
        (np.full((12, 20, 24), 0.5, np.float32), "BINARY", "wrong type"),
        (np.zeros((20, 24), np.uint8), "BINARY", "wrong shape"),
        (np.zeros((12, 20, 24, 3), np.uint8), "BINARY", "wrong shape"),
    ],
)
def test_labels_that_make_no_sense_are_refused(labels, kind, complaint, made_series):
    class Labels:
        array, affine = labels, np.eye(4)

    with pytest.raises(ContractError, match=complaint):
        seg.encode(Labels(), source=made_series(), segments="lungs", kind=kind)


def test_other_pixels_have_another_instance_uid(made_series, two_boxes):
    source = made_series()
    one = seg.encode(volume(two_boxes, source), source=source, segments="lungs")
    other = two_boxes.copy()
    other[0, 0, 0] = 1
    two = seg.encode(volume(other, source), source=source, segments="lungs")
    assert one.SeriesInstanceUID == two.SeriesInstanceUID
    assert one.SOPInstanceUID != two.SOPInstanceUID


SCRIPT = """
import sys, hashlib
import numpy as np, highdicom as hd
sys.path.insert(0, sys.argv[1])
from conftest import make_series
from claimed_med.dicom import seg, uid
source = make_series()
labels = np.zeros(source.shape, np.uint8); labels[2:5, 3:9, 4:9] = 1
made = seg.encode(hd.Volume(labels, source.affine, "PATIENT"), source=source, segments="lungs", kind=sys.argv[2])
print(hashlib.sha256(uid.to_bytes(made)).hexdigest())
"""


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_at_two_times_write_the_same_bytes(kind, made_series):
    here = Path(__file__).parent
    other = subprocess.run(
        [sys.executable, "-c", SCRIPT, here, kind],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path), "TZ": "Asia/Tokyo"},
    )
    source = made_series()
    labels = np.zeros(source.shape, np.uint8)
    labels[2:5, 3:9, 4:9] = 1
    made = seg.encode(volume(labels, source), source=source, segments="lungs", kind=kind)
    assert other.stdout.strip() == hashlib.sha256(uid.to_bytes(made)).hexdigest()


@pytest.mark.parametrize(
    "oddity",
    [
        {"SpecificCharacterSet": ""},
        {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Müller^Jürgen"},
        {"PatientBirthDate": "", "PatientSex": "U"},
        {"StudyID": None, "AccessionNumber": None, "PatientSex": None, "PatientName": None, "StudyTime": None},
        {"SOPClassUID": ""},
        {"FrameOfReferenceUID": None},
        {"StudyInstanceUID": None},
        {"Manufacturer": "M" * 64, "InstitutionName": "I" * 64},
    ],
    ids=" ".join,
)
def test_odd_headers_give_valid_objects(oddity, made_series, two_boxes):
    source = made_series(**oddity)
    encoded = seg.encode(volume(two_boxes, source), source=source, segments="lungs")
    assert validate.errors(validate.validate(encoded)) == []
    assert encoded.SourceImageSequence[0].ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"


def test_overlong_text_is_left_out_and_identifiers_stay(made_series, two_boxes):
    source = made_series()
    with pytest.warns(UserWarning, match="maximum length"):
        for header in source.headers:
            header.add_new("StudyDescription", "LO", "D" * 70)
            header.add_new("StudyID", "SH", "S" * 17)
        encoded = seg.encode(volume(two_boxes, source), source=source, segments="lungs")
    assert encoded.get("StudyDescription", "") == ""
    assert encoded.StudyID == "S" * 17


def test_the_patients_name_is_in_the_object_and_in_no_message(made_series, two_boxes, caplog, recwarn, capfd):
    source = made_series(PatientName="ZEBRA")
    caplog.set_level(0)
    encoded = seg.encode(volume(two_boxes, source), source=source, segments="lungs")
    assert encoded.PatientName == "ZEBRA"
    said = caplog.text + "".join(str(warning.message) for warning in recwarn) + "".join(capfd.readouterr())
    assert "ZEBRA" not in said


def test_a_segmentation_in_another_frame_of_reference_is_refused(made_series, two_boxes):
    source = made_series()
    encoded = seg.encode(volume(two_boxes, source), source=source, segments="lungs")
    stranger = made_series(FrameOfReferenceUID="1.2.9", SOPInstanceUID="1.2.10")
    with pytest.raises(InputError, match="another frame of reference"):
        _ = seg.decode(encoded, stranger)[0].mask


def test_a_segmentation_of_these_slices_is_placed_by_reference_when_the_frames_differ(made_series, two_boxes):
    source = made_series()
    encoded = seg.encode(volume(two_boxes, source), source=source, segments="lungs")
    same_slices = made_series(FrameOfReferenceUID="1.2.9")
    assert np.array_equal(seg.merge(seg.decode(encoded, same_slices)).array, two_boxes)


def test_tables_need_numbers_without_gaps():
    brain = segment_table("brain").segments[0]
    with pytest.raises(ContractError, match="without gaps"):
        segment_table([brain, SegmentDefinition(3, "x", brain.category, brain.kind)])


def test_unknown_table_names_the_known_ones():
    with pytest.raises(ContractError, match="body, brain, lungs"):
        segment_table("liver")
