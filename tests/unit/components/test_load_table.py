from __future__ import annotations

import pytest

import claimed_med as cm
from claimed_med.errors import InputError


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("sop_uid,label,name\n1.2,ill,Erika\n1.3,well,Max\n")
    return str(path)


def test_columns_are_taken_in_the_order_that_was_asked_for(file):
    assert list(cm.load_table(path=file, columns=["label", "sop_uid"]).load().columns) == ["label", "sop_uid"]


def test_all_rows_come_in_their_order(file):
    assert list(cm.load_table(path=file).load()["label"]) == ["ill", "well"]


def test_missing_file_or_column_is_said(file):
    with pytest.raises(InputError, match=r"no such column.*allowed sop_uid, label, name"):
        cm.load_table(path=file, columns=["age"])
    with pytest.raises(InputError):
        cm.load_table(path=f"{file}.nowhere")
    with pytest.raises(InputError, match="no file was named"):
        cm.load_table()
