from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import claimed_med as cm
from claimed_med.testing import phantoms

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def chest(tmp_path_factory):
    return phantoms.chest_ct(tmp_path_factory.mktemp("chest") / "ct")


def test_a_handle_reads_nothing_until_it_is_loaded(tmp_path):
    handle = cm.DicomSeries(tmp_path / "absent")
    with pytest.raises(cm.InputError, match="does not exist"):
        handle.load()


def test_a_folder_of_several_volumes_is_no_series_but_a_collection(tmp_path):
    folder = phantoms.collection(tmp_path)
    with pytest.raises(cm.InputError, match="must hold one volume; got 4"):
        cm.DicomSeries(folder).load()
    assert sorted(one.modality for one in cm.DicomCollection(folder).series()) == ["CT", "CT", "CT", "MR"]


def test_a_collection_lists_refused_series_with_their_findings(tmp_path):
    folder = phantoms.collection(tmp_path)
    names = [finding.name for one in cm.DicomCollection(folder).series() for finding in one.findings]
    assert "MissingSlice" in names


def test_images_show_as_pictures_and_results_as_tables(chest):
    series = cm.DicomSeries(chest)
    lungs = cm.segment_lungs(series)
    assert series._repr_png_().startswith(PNG)
    assert lungs._repr_png_().startswith(PNG)
    assert cm.render_overview(series, lungs).capture._repr_png_().startswith(PNG)
    assert "Volume" in cm.measure_segments(series, lungs)._repr_html_()
    assert "<table" in cm.Table(pd.DataFrame({"a": [1]}))._repr_html_()
    assert "&lt;b&gt;" in cm.Report({"a": "<b>"})._repr_html_()
    assert "<tr>" in cm.DicomCollection(chest)._repr_html_()


def test_part_of_a_multi_frame_object_stays_that_part(tmp_path):
    stored = np.arange(6 * 4 * 5, dtype=np.uint16).reshape(6, 4, 5)
    points = [(0, 0, 2.5 * index) for index in (0, 1, 2)] * 2
    phantoms.enhanced_mr(tmp_path / "in", stored, positions=points, indices=[1, 1, 1, 2, 2, 2])
    for found in cm.DicomCollection(tmp_path / "in").series():
        saved = found.save(tmp_path / found.key)
        again = cm.DicomSeries(saved).load()
        assert again.key == found.key
        np.testing.assert_array_equal(again.volume().array, found.load().volume().array)


def test_reports_and_tables_survive_their_files(tmp_path):
    cm.Report({"x": 1.5}, html="<p>x</p>", pictures={"a.png": PNG}).save(tmp_path / "report")
    assert cm.Report(tmp_path / "report").load() == {"x": 1.5}
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"report.json", "report.html", "a.png"}
    table = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    cm.Table(table).save(tmp_path / "table")
    pd.testing.assert_frame_equal(cm.Table(tmp_path / "table").load(), table)


def test_a_report_with_a_number_that_json_does_not_have_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        cm.Report({"x": float("nan")}).save(tmp_path / "report")
    assert not (tmp_path / "report").exists()
