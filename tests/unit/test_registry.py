from __future__ import annotations

import sys

import pytest

from claimed_med import registry
from claimed_med.errors import ContractError


def test_names_imports_no_component(parts):
    before = {name for name in sys.modules if name.startswith("claimed_med.components.")}
    assert "copy-table" in registry.names()
    assert {name for name in sys.modules if name.startswith("claimed_med.components.")} == before


def test_both_spellings_and_a_file_name_find_the_same_component(parts):
    found = [registry.get(name) for name in ("copy-table", "copy_table", str(parts / "copy_table.py"))]
    assert len({id(one) for one in found}) == 1


def test_a_file_without_its_component_is_refused(tmp_path):
    (tmp_path / "empty_file.py").write_text("x = 1\n")
    with pytest.raises(ContractError, match="defines no component"):
        registry.get(str(tmp_path / "empty_file.py"))
    with pytest.raises(ContractError, match="no such component file"):
        registry.get(str(tmp_path / "absent.py"))


def test_a_component_of_another_package_is_found_by_entry_point(tmp_path, monkeypatch):
    (tmp_path / "their_package.py").write_text(
        "from claimed_med.component import component\n"
        "from claimed_med.handles import Report, Table\n"
        "@component(version='2.0.0', category='metric')\n"
        "def count_cells(table: Table) -> Report:\n"
        "    '''Count cells.\n\n    Returns:\n        count: Number of cells.\n    '''\n"
        "    return Report({'n': int(table.load().size)})\n"
    )
    info = tmp_path / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[claimed_med.components]\ncount-cells = their_package:count_cells\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry._foreign.cache_clear()
    try:
        assert "count-cells" in registry.names()
        assert registry.get("count-cells").contract.version == "2.0.0"
    finally:
        registry._foreign.cache_clear()
