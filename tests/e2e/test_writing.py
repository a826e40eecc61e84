"""Everything we write from every real series: valid, in place, referring to its source."""

from __future__ import annotations

import highdicom as hd
import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread

from claimed_med.dicom import codes, image, pm, sc, seg, sr, uid, validate
from claimed_med.dicom.scan import scan
from claimed_med.dicom.series import read_series
from claimed_med.errors import InputError
from claimed_med.testing.readback import voxels_by_dcmqi

ROUND_TRIPS = (
    "mr_t1_siemens_head",
    "ct_body_siemens_j2k",
    "rt_sarcoma/STS_006",
    "enhanced_mr_siemens_xa30",
    "seg_24x38x3",
)


def readable(folder):
    """Yield every series of a folder that can be one volume."""
    for entry in scan(folder).volumes:
        try:
            series = read_series(entry.files, entry.frames)
            yield series, series.volume()
        except InputError:
            continue


def two_boxes(shape):
    labels = np.zeros(shape, np.uint8)
    z, y, x = (n // 4 for n in shape)
    labels[z : 2 * z + 1, y : 2 * y + 1, x : 2 * x + 1] = 1
    labels[z : 2 * z + 1, y : 2 * y + 1, 2 * x + 1 : 3 * x + 1] = 2
    return labels


def everything(series, volume):
    """Yield one object of each kind (name, data set)."""
    labels = volume.with_array(two_boxes(volume.spatial_shape))
    segmentation = seg.encode(labels, source=series, segments="lungs")
    yield "SEG", segmentation
    yield "labelmap SEG", seg.encode(labels, source=series, segments="lungs", kind="LABELMAP")
    rows = [sr.Measurement(number, codes.VOLUME, 1.5 * number, codes.MILLILITER) for number in (1, 2)]
    yield "SR", sr.encode(rows, source=series, segmentation=segmentation)
    yield "SC", sc.encode(np.zeros((16, 24, 3), np.uint8), source=series, description="Overview")[0]
    quantities = volume.with_array(volume.array.astype(np.float32))
    yield "map", pm.encode(quantities, source=series, quantity=codes.SIGNAL_INTENSITY, unit=codes.NO_UNIT)
    images = image.encode(volume, source=series, description="unchanged")
    yield "first slice", images[0]
    yield "last slice", images[-1]


@pytest.mark.slow
def test_no_object_of_any_real_series_has_an_error_that_its_source_lacks(data):
    failures, count = [], 0
    for series, volume in readable(data):
        count += 1
        inherited = [*series.files[:1], *series.files[-1:]]
        if validate.CRASHED in {problem for answer in validate.validate_all(inherited) for problem in answer}:
            continue  # nothing can be known about what such a source lacks
        for name, made in everything(series, volume):
            failures += [(series.key, name, problem.text) for problem in validate.new_errors(made, inherited)]
    assert failures == []
    assert count > 20


@pytest.mark.parametrize("folder", ROUND_TRIPS)
@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_dcmqi_finds_the_voxels_of_real_series_where_we_put_them(folder, kind, data, tmp_path):
    found = list(readable(data / folder))
    assert found
    for series, volume in found:
        labels = two_boxes(volume.spatial_shape)
        made = seg.encode(volume.with_array(labels), source=series, segments="lungs", kind=kind)
        folder = tmp_path / series.key
        folder.mkdir()
        points = voxels_by_dcmqi(uid.write(made, folder / "seg.dcm"), (1, 2), kind, folder)
        for number in (1, 2):
            indices = np.argwhere(labels == number)
            expected = (volume.affine @ np.c_[indices, np.ones(len(indices))].T).T[:, :3]
            assert len(points[number]) == len(expected)
            assert points[number].mean(0) == pytest.approx(expected.mean(0), abs=0.01)


@pytest.mark.parametrize("name", ["liver.dcm", "partial_overlaps.dcm"])
def test_foreign_segmentations_are_read_as_dcmqi_reads_them(name, data, tmp_path):
    path = data / "seg_liver_ct3" / "seg" / name
    series, _ = next(readable(data / "seg_liver_ct3"))
    segments = seg.decode(dcmread(path), series)
    points = voxels_by_dcmqi(path, [segment.number for segment in segments], "BINARY", tmp_path)
    for segment in segments:
        mask = segment.mask
        indices = np.argwhere(mask.array)
        ours = (mask.affine @ np.c_[indices, np.ones(len(indices))].T).T[:, :3]
        assert len(ours) == len(points[segment.number])
        assert ours.mean(0) == pytest.approx(points[segment.number].mean(0), abs=0.01)


def test_derived_slices_are_read_back_by_simpleitk_at_the_same_place(data, tmp_path):
    series, volume = next(readable(data / "mr_t1_siemens_head"))
    shifted = hd.Volume(volume.array, volume.affine, "PATIENT")
    for index, item in enumerate(image.encode(shifted, source=series, description="unchanged")):
        uid.write(item, tmp_path / f"{index:04d}.dcm")
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    read = reader.Execute()
    for index in ((0, 0, 0), (5, 40, 60), tuple(n - 1 for n in volume.spatial_shape)):
        point = tuple((volume.affine @ [*index, 1.0])[:3])
        assert read[read.TransformPhysicalPointToIndex(point)] == pytest.approx(float(volume.array[index]))
