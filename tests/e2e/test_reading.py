"""Reading all of the shared data: everything accounted for, known truths told by name."""

from __future__ import annotations

import pytest

from claimed_med.dicom.scan import scan
from claimed_med.errors import InputError


@pytest.fixture(scope="module")
def found(data):
    return scan(data)


def of(found, data, folder):
    return [one for one in found.volumes if one.files[0].is_relative_to(data / folder)]


def names(entry):
    return {finding.name for finding in entry.findings}


def test_every_file_is_accounted_for(found, data):
    files = {path for path in data.rglob("*") if path.is_file()}
    placed = [path for entry in found.volumes for path in set(entry.files)]
    placed += [other.path for other in found.others] + [skip.path for skip in found.skipped]
    assert set(placed) == files
    assert not {other.path for other in found.others} & {skip.path for skip in found.skipped}


def test_keys_are_unique(found):
    assert len({entry.key for entry in found.volumes}) == len(found.volumes)


def test_every_volume_can_be_read_or_is_refused_with_a_finding(found):
    for entry in found.volumes:
        outcome = outcome_of(entry.series)
        if isinstance(outcome, InputError):
            assert outcome.findings
            assert str(outcome).startswith(("series: this is no volume", "dicom: pixel data"))
        else:
            assert not [finding for finding in entry.findings if finding.fatal]
            assert outcome.array.shape[0] == len(entry.series.slices)


def outcome_of(series):
    try:
        return series.volume()
    except InputError as error:
        return error


@pytest.mark.parametrize(
    ("folder", "shape"),
    [
        ("mr_t1_siemens_head", (35, 256, 256)),
        ("ct_head_philips_5mm", (28, 512, 512)),
        ("ct_body_siemens_j2k", (20, 512, 512)),
        ("mr_t1_ge_sag", (120, 256, 256)),
        ("enhanced_mr_siemens_xa30", (96, 128, 128)),
        ("seg_liver_ct3/ct", (3, 512, 512)),
    ],
)
def test_sound_series_are_one_volume(found, data, folder, shape):
    (entry,) = of(found, data, folder)
    assert entry.series.volume().array.shape == shape


def test_the_tilted_head_is_refused_for_tilt_and_spacing(found, data):
    (entry,) = of(found, data, "ct_head_ge_tilt")
    assert {"GantryTilt", "UnevenSpacing"} <= names(entry)
    (tilt,) = [finding for finding in entry.findings if finding.name == "GantryTilt"]
    assert tilt.numbers["angle_deg"] == pytest.approx(18.5, abs=0.1)


def test_the_functional_series_is_split_into_its_ten_phases(found, data):
    entries = of(found, data, "mr_fmri_ge_4d")
    assert [len(entry.files) for entry in entries] == [15] * 10
    assert all("FourDimensional" in names(entry) for entry in entries)


def test_objects_of_other_kinds_are_listed_with_their_references(found, data):
    liver = [one for one in found.others if one.path == data / "seg_liver_ct3" / "seg" / "liver.dcm"]
    ct = of(found, data, "seg_liver_ct3/ct")[0]
    assert set(ct.sop_uids) <= liver[0].references


def test_suv_and_hounsfield_values_are_real(found, data):
    for entry in of(found, data, "rt_sarcoma"):
        volume = entry.series.volume()
        if entry.modality == "CT":
            assert volume.array.min() >= -1024
        if entry.modality == "PT":
            assert volume.array.dtype.kind == "f"
