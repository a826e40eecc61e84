from __future__ import annotations

import numpy as np
import pytest

import claimed_med as cm
from claimed_med.testing.phantoms import write_series


def test_a_sound_volume_passes_unchanged(example, tmp_path):
    folder = example("chest_ct")
    result = cm.check_quality(cm.DicomSeries(folder))
    saved = result.checked.save(tmp_path / "saved")
    assert {path.read_bytes() for path in saved.glob("*.dcm")} == {path.read_bytes() for path in folder.glob("*.dcm")}
    assert result.quality.load()["shape"] == [32, 80, 96]


@pytest.mark.parametrize(
    ("settings", "name"), [({"min_slices": 33}, "TooFewSlices"), ({"max_spacing_mm": 5.0}, "TooThick")]
)
def test_limits_refuse_by_name(example, settings, name):
    with pytest.raises(cm.InputError) as raised:
        cm.check_quality(cm.DicomSeries(example("chest_ct")), **settings)
    assert [one.name for one in raised.value.findings] == [name]


def test_an_image_of_one_value_is_refused(tmp_path):
    write_series(tmp_path, np.full((4, 8, 8), 7, np.int16))
    with pytest.raises(cm.InputError, match="all voxels have the value 7"):
        cm.check_quality(cm.DicomSeries(tmp_path))


def test_a_missing_slice_is_refused(example):
    with pytest.raises(cm.InputError, match="1 slice is missing"):
        cm.check_quality(cm.DicomSeries(example("collection") / "GAP"))
