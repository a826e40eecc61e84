from __future__ import annotations

import pytest

import claimed_med as cm
from claimed_med.errors import InputError
from claimed_med.testing import phantoms


def test_rows_keep_the_order_of_the_file(data):
    file = data / "tabular" / "german.data"
    table = cm.load_credit_table(path=str(file)).load()
    lines = file.read_text().splitlines()
    assert len(table) == len(lines) == 1000
    assert [str(one) for one in table["amount"]] == [line.split()[4] for line in lines]
    assert table["y"].sum() == 700


def test_a_folder_with_one_table_is_taken(tmp_path):
    assert len(cm.load_credit_table(path=str(phantoms.write("credit", tmp_path))).load()) > 0


@pytest.mark.parametrize("content", ["", "1 2 3\n", "x " * 20 + "1\n"])
def test_what_is_no_credit_table_is_said(tmp_path, content):
    (tmp_path / "german.data").write_text(content)
    with pytest.raises(InputError, match="german credit"):
        cm.load_credit_table(path=str(tmp_path))
