from __future__ import annotations

import numpy as np
import pytest

import claimed_med as cm
from claimed_med.testing.phantoms import write_series


def ramp(places, shape=(24, 26)):
    """Stored values that grow with the distance along z, so that interpolation can be checked."""
    plane = np.add.outer(np.arange(shape[0]) * 2, np.arange(shape[1]) * 3)
    return np.asarray([plane + 10 * place for place in places], np.int16)


def series(folder, places, tilt_mm=0.0, **options):
    positions = [(0.0, tilt_mm * place, float(place)) for place in places]
    write_series(folder, ramp(places), positions=positions, spacing_mm=(2.0, 1.0, 1.0), **options)
    return cm.DicomSeries(folder)


def test_uneven_slices_are_interpolated_onto_an_even_grid(tmp_path):
    handle = series(tmp_path, [0, 2, 4, 7, 9, 11, 13, 14.5, 16])
    with pytest.raises(cm.InputError, match="resample_uneven"):
        handle.load().volume()
    loaded = handle.load(repair=["resample_uneven"])
    volume = loaded.volume()
    heights = volume.affine[2, 3] + volume.affine[2, 0] * np.arange(len(volume.array))
    np.testing.assert_allclose(volume.array[:, 0, 0], 10 * heights, atol=1e-3)
    assert "resample_uneven: 9 slices" in loaded.repairs[0]


def test_a_tilted_stack_is_straightened_in_its_place(tmp_path):
    handle = series(tmp_path, [0, 2, 4, 6, 8, 10], tilt_mm=0.4)
    with pytest.raises(cm.InputError, match="untilt"):
        handle.load().volume()
    loaded = handle.load(repair=["untilt"])
    volume, sheared = loaded.volume(), loaded.affine
    for index in ((1, 10, 12), (4, 12, 5)):
        lps = sheared @ [*index, 1.0]
        place = (np.linalg.inv(volume.affine) @ lps)[:3]
        low = np.floor(place + 1e-6).astype(int)
        share = place[1] - low[1]
        found = (1 - share) * volume.array[tuple(low)] + share * volume.array[low[0], low[1] + 1, low[2]]
        assert found == pytest.approx(ramp([0, 2, 4, 6, 8, 10])[index], abs=0.5)
    assert loaded.repairs[0].startswith("untilt: 21.8")


def test_exact_copies_are_dropped_and_others_stay_refused(tmp_path):
    places = [0, 2, 4, 6, 6, 8]
    handle = series(tmp_path / "copies", places)
    with pytest.raises(cm.InputError, match="drop_duplicates"):
        handle.load().volume()
    loaded = handle.load(repair=["drop_duplicates"])
    assert loaded.volume().array.shape[0] == 5
    assert loaded.repairs == ["drop_duplicates: 1 exact copies dropped"]
    different = ramp(places)
    different[4] += 1
    positions = [(0.0, 0.0, float(place)) for place in places]
    write_series(tmp_path / "differ", different, positions=positions, spacing_mm=(2.0, 1.0, 1.0), name="differ")
    with pytest.raises(cm.InputError, match="lies at the place of another"):
        cm.DicomSeries(tmp_path / "differ").load(repair=["drop_duplicates"]).volume()


def test_an_unknown_repair_is_a_contract_error(tmp_path):
    with pytest.raises(cm.ContractError, match="unknown repair; got guess"):
        series(tmp_path, [0, 2]).load(repair=["guess"])


def test_a_repair_is_recorded_in_the_lineage(tmp_path):
    handle = series(tmp_path / "in", [0, 2, 4, 7, 9, 11])
    with pytest.raises(cm.InputError):
        cm.resample_series(handle)
    made = cm.resample_series(handle, repair="resample_uneven")
    assert "resample_uneven" in made.record.units[0].repairs[0]
    saved = made.save(tmp_path / "out")
    assert "resample_uneven: 6 slices onto 6" in (saved / "lineage.json").read_text()
