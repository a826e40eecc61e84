"""What goes out: the overview picture and the check of all objects."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import claimed_med as cm
from claimed_med.imaging.render import mosaic, png


@pytest.fixture(scope="module")
def objects(lungs):
    series, segmentation = lungs
    return {
        "series": series,
        "segmentation": segmentation,
        "measurements": cm.measure_segments(series, segmentation),
        "capture": cm.render_overview(series, segmentation).capture,
    }


def test_the_picture_shows_every_segment_in_its_colour(lungs):
    drawn = np.asarray(Image.open(io.BytesIO(cm.render_overview(*lungs).picture.load())))
    red, blue = drawn[..., 0].astype(int) - drawn[..., 2], drawn[..., 2].astype(int) - drawn[..., 0]
    assert (red > 20).sum() > 1000
    assert (blue > 20).sum() > 1000


def test_picture_and_capture_are_the_same(lungs):
    made = cm.render_overview(*lungs)
    np.testing.assert_array_equal(made.capture.load().pixel_array, np.asarray(Image.open(io.BytesIO(made.picture.load()))))


def test_pixels_are_drawn_square():
    assert mosaic(np.zeros((1, 10, 20)), spacing_mm=(1.0, 4.0, 1.0)).shape[0] > mosaic(
        np.zeros((1, 10, 20)), spacing_mm=(1.0, 1.0, 1.0)
    ).shape[0]


def test_png_of_grey_and_colour_can_be_read():
    for picture in (np.arange(12, dtype=np.uint8).reshape(3, 4), np.arange(36, dtype=np.uint8).reshape(3, 4, 3)):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(picture)))), picture)


def test_valid_objects_pass(objects):
    report = cm.validate_objects(*objects.values()).load()["objects"]
    assert {one["n_new_errors"] for one in report.values()} == {0}


def test_an_object_with_a_new_error_is_refused(objects, lungs):
    broken = cm.DicomReport(objects["measurements"].load().copy())
    del broken.object.PatientID
    with pytest.raises(cm.OutputError, match="measurements"):
        cm.validate_objects(objects["series"], objects["segmentation"], broken, objects["capture"])


def test_an_object_of_another_study_is_refused(objects, example):
    other = cm.DicomSeries(example("empty_chest_ct"))
    with pytest.raises(cm.OutputError, match="another study"):
        cm.validate_objects(other, *list(objects.values())[1:])
