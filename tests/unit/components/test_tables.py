"""Catalogue, conversion and trends, on this machine; with Spark the same."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest

import claimed_med as cm
from claimed_med import spark
from claimed_med.errors import InputError
from claimed_med.payload import sha256_of
from claimed_med.testing import phantoms, servers


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A mixed archive of phantoms, and two files that are none."""
    folder = tmp_path_factory.mktemp("catalog") / "archive"
    phantoms.collection(folder)
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text('name,code,dose,seen,late,text\na,007,1.5,2024-01-31,,"x, ""y"""\nb,010,,2024-02-01,true,\n')
    return path


@pytest.fixture
def doses():
    """Doses of two scanners over six months: A rises by 2 a month, B stays."""
    rows = [
        {"study_time": f"2024-{month:02}-{day:02}", "scanner": scanner, "study_uid": f"{scanner}{month}", "dose": dose}
        for month in range(1, 7)
        for day in (3, 17)
        for scanner, dose in (("A", 10 + 2 * month + day / 100), ("B", 5 + day / 100))
    ]
    return pd.DataFrame([*rows, {"study_time": "", "scanner": "A", "study_uid": "x", "dose": 99.0}])


def _trends(doses, **settings):
    asked = {"group_columns": ["scanner"], "value_columns": ["dose"], **settings}
    return cm.measure_trends(cm.Table(doses), **asked)


@pytest.fixture
def with_spark():
    present = True
    try:
        import pyspark  # noqa: F401 - only whether it is there
    except ImportError:
        present = False
    servers.require(present=present and bool(shutil.which("java")), absent=spark.ABSENT)


def test_catalogue_has_a_row_a_file_and_no_name(archive):
    catalog, counts = cm.catalog_archive(path=str(archive))
    rows, told = catalog.load(), counts.load()
    files = [path for path in archive.rglob("*") if path.is_file()]
    assert told["n_files"] == len(files)
    assert told["n_rows"] == len(rows) == len(files) - sum(told["left_out"].values())
    assert sum(told["left_out"].values()) >= 1
    assert rows["study_time"].str.fullmatch(r"\d{4}-\d{2}|").all()
    assert rows["n_bytes"].sum() > 0
    assert not [word for word in phantoms.PLANTED.values() if word in rows.drop(columns="sop_uid").to_csv()]


def test_catalogue_does_not_depend_on_chunks_or_processes(archive, monkeypatch):
    from claimed_med.dicom import catalog as module

    whole = cm.catalog_archive(path=str(archive))[0].load()
    monkeypatch.setenv("CLAIMED_MED_WORKERS", "2")
    monkeypatch.setattr(module, "CHUNK", 7)
    assert len(whole) > 2 * module.CHUNK
    pd.testing.assert_frame_equal(cm.catalog_archive(path=str(archive))[0].load(), whole)


def test_an_archive_without_dicom_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(InputError, match="no DICOM file"):
        cm.catalog_archive(path=str(tmp_path))


def test_csv_and_back_keeps_order_types_and_text(table):
    parquet = cm.convert_table(cm.Table(table), text_columns=["code"])
    rows = parquet.load()
    assert rows["code"].tolist() == ["007", "010"]
    assert rows["text"].iloc[0] == 'x, "y"'
    assert pd.isna(rows["dose"].iloc[1])
    again = cm.convert_table(cm.convert_table(parquet, form="csv"), text_columns=["code"])
    pd.testing.assert_frame_equal(again.load(), rows)


def test_a_text_column_that_is_not_there_is_named(table):
    with pytest.raises(InputError, match=r"no such column; got nonsense; allowed name, code"):
        cm.convert_table(cm.Table(table), text_columns=["nonsense"])


def test_a_table_that_is_none_is_refused(tmp_path):
    (tmp_path / "table.parquet").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read"):
        cm.convert_table(cm.Table(tmp_path / "table.parquet"))


def test_a_rise_is_found_and_a_level_is_not(doses):
    rows, summary = _trends(doses)
    rows = rows.load()
    assert rows["n"].tolist() == [2] * 12
    assert rows["mean"].iloc[0] == pytest.approx(12.1)
    found = {one["group"]["scanner"]: one for one in summary.load()["trends"]}
    assert found["A"]["slope"] == pytest.approx(2.0)
    assert found["A"]["p_value"] < 0.01
    assert found["B"]["slope"] == pytest.approx(0.0)
    assert "p_value" not in found["B"] or found["B"]["p_value"] > 0.5
    assert found["A"]["first"], found["A"]["last"] == ("2024-01", "2024-06")


def test_different_studies_are_counted_once(doses):
    rows, _ = _trends(doses, value_columns=[], count_column="study_uid")
    assert rows.load()["n"].tolist() == [1] * 12


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"time_column": "when"}, "no such column; got when"),
        ({"value_columns": ["scanner"], "group_columns": []}, "a column holds no numbers; got scanner"),
        ({"time_column": "scanner", "group_columns": []}, "no row has a time of at least a month"),
    ],
)
def test_what_cannot_be_measured_is_named(doses, settings, told):
    with pytest.raises(InputError, match=told):
        _trends(doses, **settings)


@pytest.mark.spark
@pytest.mark.xdist_group("spark")
def test_spark_gives_the_same_catalogue_byte_by_byte(archive, with_spark):
    made = [cm.catalog_archive(path=str(archive), engine=engine) for engine in ("local", "spark")]
    digests = {sha256_of(catalog.single_file(".parquet")) for catalog, _ in made}
    assert len(digests) == 1
    assert made[0][1].load() == made[1][1].load()


@pytest.mark.spark
@pytest.mark.xdist_group("spark")
@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_spark_converts_to_the_same_table(table, form, with_spark):
    source = cm.convert_table(cm.Table(table), text_columns=["code"]) if form == "csv" else cm.Table(table)
    texts = [] if form == "csv" else ["code"]
    made = [cm.convert_table(source, form=form, text_columns=texts, engine=engine) for engine in ("local", "spark")]
    pd.testing.assert_frame_equal(made[0].load(), made[1].load())


@pytest.mark.spark
@pytest.mark.xdist_group("spark")
def test_spark_measures_the_same_trends(doses, with_spark):
    local, spark_made = (_trends(doses, engine=engine) for engine in ("local", "spark"))
    pd.testing.assert_frame_equal(local[0].load(), spark_made[0].load())
    assert local[1].load() == spark_made[1].load()
    counted = [
        _trends(doses, value_columns=[], count_column="study_uid", engine=engine)[0].load()
        for engine in ("local", "spark")
    ]
    pd.testing.assert_frame_equal(*counted)
