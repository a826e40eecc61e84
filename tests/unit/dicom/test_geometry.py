"""Every voxel right under the returned affine, or a refusal by name: one table of cases."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from claimed_med.dicom.scan import scan
from claimed_med.dicom.series import read_series
from claimed_med.errors import InputError
from claimed_med.testing.phantoms import AXIAL, CORONAL, SAGITTAL, enhanced_mr, write_series

ROWS, COLUMNS, SLICES = 33, 35, 9
SPACING = (2.5, 0.8, 0.6)
OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, 0.8)


def normal(orientation):
    return np.cross(orientation[:3], orientation[3:])


def places(orientation=AXIAL, steps=range(SLICES), shift=(0, 0, 0)):
    return [np.add((-11.0, 22.0, 33.0), np.asarray(normal(orientation)) * SPACING[0] * step + shift) for step in steps]


def values(n_slices=SLICES):
    return np.arange(n_slices * ROWS * COLUMNS, dtype=np.int16).reshape(n_slices, ROWS, COLUMNS)


@dataclass
class Case:
    positions: list = field(default_factory=places)
    orientation: tuple = AXIAL
    options: dict = field(default_factory=dict)
    refusal: str = ""


def jittered():
    noise = np.random.default_rng(3).uniform(-0.008, 0.008, SLICES)
    return [np.add(point, (0, 0, shift)) for point, shift in zip(places(), noise, strict=True)]


def tilted():
    return [np.add(point, (0, 0.9 * index, 0)) for index, point in enumerate(places())]


CASES = {
    "axial": Case(),
    "sagittal": Case(places(SAGITTAL), SAGITTAL),
    "coronal": Case(places(CORONAL), CORONAL),
    "oblique": Case(places(OBLIQUE), OBLIQUE),
    "descending": Case(places(steps=range(SLICES)[::-1])),
    "oblique descending": Case(places(OBLIQUE, range(SLICES)[::-1]), OBLIQUE),
    "reversed numbering": Case(options={"reverse_numbers": True}),
    "jitter": Case(jittered()),
    "slope of each slice": Case(options={"slopes": [1 + index / 8 for index in range(SLICES)], "intercept": -3.0}),
    "implicit": Case(options={"syntax": "implicit"}),
    "big endian": Case(options={"syntax": "big"}),
    "JPEG-LS": Case(options={"syntax": "1.2.840.10008.1.2.4.80"}),
    "JPEG 2000": Case(options={"syntax": "1.2.840.10008.1.2.4.90"}),
    "RLE": Case(options={"syntax": "1.2.840.10008.1.2.5"}),
    "one slice": Case(places()[:1]),
    "duplicate position": Case([*places()[:-1], places()[3]], refusal="DuplicatePosition"),
    "uneven spacing": Case(places(steps=[0, 1, 2, 3.4, 4, 5, 6.3, 7, 8]), refusal="UnevenSpacing"),
    "missing slice": Case(places(steps=[0, 1, 2, 3, 5, 6, 7, 8, 9]), refusal="MissingSlice"),
    "two gaps": Case(places(steps=[0, 1, 2, 4, 5, 6, 9, 10, 11]), refusal="MissingSlice"),
    "tilt": Case(tilted(), refusal="GantryTilt"),
    "off the line": Case(
        [*places()[:4], np.add(places()[4], (0.0, 2.0, 0.0)), *places()[5:]], refusal="InconsistentPosition"
    ),
}


def lps_of(case):
    """LPS [mm] of every voxel as it was written: shape (slice, row, column, 3)."""
    along, down = np.asarray(case.orientation[:3]), np.asarray(case.orientation[3:])
    rows, columns = np.arange(ROWS) * SPACING[1], np.arange(COLUMNS) * SPACING[2]
    inside = rows[:, None, None] * down + columns[None, :, None] * along
    return np.asarray(case.positions)[:, None, None] + inside


def assert_right(volume, points, expected, tolerance=0.02):
    index = (np.linalg.inv(volume.affine) @ np.c_[points.reshape(-1, 3), np.ones(points.size // 3)].T)[:3].T
    nearest = np.round(index).astype(int)
    assert np.abs(index - nearest).max() < tolerance
    assert volume.array.shape == points.shape[:3]
    np.testing.assert_allclose(volume.array[tuple(nearest.T)], expected.ravel(), rtol=1e-6)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.refusal])
def test_every_voxel_is_right_under_the_affine(name, tmp_path):
    case = CASES[name]
    stored = values(len(case.positions))
    write_series(
        tmp_path, stored, positions=case.positions, orientation=case.orientation, spacing_mm=SPACING, **case.options
    )
    (entry,) = scan(tmp_path).volumes
    volume = read_series(entry.files).volume()
    slopes = np.asarray(case.options.get("slopes", [1] * len(stored)))[:, None, None]
    expected = stored * slopes + case.options.get("intercept", 0.0)
    assert_right(volume, lps_of(case), expected)
    assert volume.array.dtype == (np.float32 if "slopes" in case.options else np.int16)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.refusal])
def test_what_is_no_volume_is_refused_by_name(name, tmp_path):
    case = CASES[name]
    stored = values(len(case.positions))
    write_series(tmp_path, stored, positions=case.positions, orientation=case.orientation, spacing_mm=SPACING)
    entries = scan(tmp_path).volumes
    assert sum(len(entry.files) for entry in entries) == len(stored)
    (entry,) = entries
    assert case.refusal in [finding.name for finding in entry.findings if finding.fatal]
    with pytest.raises(InputError) as raised:
        read_series(entry.files).volume()
    assert case.refusal in [finding.name for finding in raised.value.findings]


@pytest.mark.parametrize("same_size", [True, False])
def test_a_localizer_in_the_same_series_is_a_volume_of_its_own(tmp_path, same_size):
    case = CASES["axial"]
    write_series(tmp_path, values(), positions=case.positions, spacing_mm=SPACING)
    scout = np.full((1, ROWS if same_size else 2 * ROWS, COLUMNS), 999, np.int16)

    def into_the_series(dataset, _):
        dataset.SOPInstanceUID = "2.25.1"

    options = {"attributes": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "changes": into_the_series}
    write_series(tmp_path / "scout", scout, orientation=CORONAL, spacing_mm=SPACING, **options)
    entries = {len(entry.files): entry for entry in scan(tmp_path).volumes}
    assert set(entries) == {1, SLICES}
    assert "Localizer" in [finding.name for finding in entries[1].findings]
    assert_right(read_series(entries[SLICES].files).volume(), lps_of(case), values())


def test_a_missing_position_is_refused_by_name(tmp_path):
    def forget(dataset, _):
        del dataset.ImagePositionPatient

    write_series(tmp_path, values(), spacing_mm=SPACING, changes=forget)
    entries = scan(tmp_path).volumes
    assert sum(len(entry.files) for entry in entries) == SLICES
    assert all("MissingPosition" in [finding.name for finding in entry.findings] for entry in entries)
    with pytest.raises(InputError, match="no position"):
        read_series(entries[0].files).volume()


def test_one_slice_without_a_position_does_not_spoil_the_others(tmp_path):
    def forget_one(dataset, index):
        if index == SLICES - 1:
            del dataset.ImagePositionPatient

    write_series(tmp_path, values(), positions=places(), spacing_mm=SPACING, changes=forget_one)
    entries = {len(entry.files): entry for entry in scan(tmp_path).volumes}
    assert set(entries) == {1, SLICES - 1}
    assert "MissingPosition" in [finding.name for finding in entries[1].findings]


@pytest.mark.parametrize(
    "attribute", ["TemporalPositionIdentifier", "EchoNumbers", "AcquisitionNumber", "InstanceNumber"]
)
def test_4d_is_split_and_nothing_is_dropped(tmp_path, attribute):
    for phase in range(3):

        def mark(dataset, index, phase=phase):
            setattr(dataset, attribute, phase + 1)
            dataset.InstanceNumber = phase * SLICES + index + 1
            dataset.SOPInstanceUID = f"2.25.{phase}{index + 1}"

        write_series(
            tmp_path / str(phase), values() + 1000 * phase, positions=places(), spacing_mm=SPACING, changes=mark
        )
    entries = scan(tmp_path).volumes
    assert [len(entry.files) for entry in entries] == [SLICES] * 3
    assert all("FourDimensional" in [finding.name for finding in entry.findings] for entry in entries)
    volumes = sorted((read_series(entry.files).volume() for entry in entries), key=lambda one: one.array.min())
    for phase, volume in enumerate(volumes):
        assert_right(volume, lps_of(CASES["axial"]), values() + 1000 * phase)


def test_4d_in_one_multi_frame_object_is_split_by_frames(tmp_path):
    stored = np.arange(6 * 4 * 5, dtype=np.uint16).reshape(6, 4, 5)
    points = [(0, 0, 2.5 * index) for index in (2, 0, 1)] * 2
    enhanced_mr(tmp_path, stored, positions=points, indices=[1, 1, 1, 2, 2, 2])
    entries = scan(tmp_path).volumes
    assert len(entries) == 2
    assert len({entry.key for entry in entries}) == 2
    for entry in entries:
        volume = read_series(entry.files, entry.frames).volume()
        (frames,) = entry.frames.values()
        first = frames[0] - 1
        np.testing.assert_array_equal(volume.array, stored[[first + 1, first + 2, first]])


@pytest.mark.parametrize("left", [0.5, 0.02])
def test_a_truncated_file_refuses_its_volume(tmp_path, left):
    paths = write_series(tmp_path, values(), positions=places(), spacing_mm=SPACING)
    content = paths[4].read_bytes()
    pixels = ROWS * COLUMNS * 2
    paths[4].write_bytes(content[: len(content) - pixels + int(pixels * left)])
    (entry,) = scan(tmp_path).volumes
    assert "Truncated" in [finding.name for finding in entry.findings if finding.fatal]
    with pytest.raises(InputError, match="pixel data"):
        read_series(entry.files).volume()


def test_a_range_that_needs_more_than_16_bits_becomes_float(tmp_path):
    stored = np.full((3, ROWS, COLUMNS), 40000, np.uint16)
    write_series(tmp_path, stored, spacing_mm=SPACING, intercept=0.5)
    volume = read_series(sorted(tmp_path.iterdir())).volume()
    assert volume.array.dtype == np.float32
    assert (volume.array == 40000.5).all()


def test_an_unsigned_range_with_a_negative_intercept_stays_exact(tmp_path):
    stored = np.resize(np.array([0, 1, 32768, 60000, 65535], np.uint16), (1, ROWS, COLUMNS))
    write_series(tmp_path, stored, spacing_mm=SPACING, intercept=-32768)
    volume = read_series(sorted(tmp_path.iterdir())).volume()
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, stored.astype(np.int32) - 32768)
