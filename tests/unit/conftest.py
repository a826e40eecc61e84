from __future__ import annotations

import json
from pathlib import Path

import pytest

PARTS = Path(__file__).parent / "parts"


@pytest.fixture
def parts(monkeypatch):
    """The small components of tests/unit/parts, as if another package brought them."""
    monkeypatch.setenv("CLAIMED_MED_COMPONENTS", str(PARTS))
    return PARTS


@pytest.fixture
def table(tmp_path):
    """A table on disk."""
    folder = tmp_path / "table"
    folder.mkdir()
    (folder / "table.csv").write_text("a,b\n1,2\n3,4\n")
    return folder


@pytest.fixture
def tables(tmp_path):
    """A port folder with six units of work, tables of 1 to 6 rows, and one unit that is in quarantine."""
    folder = tmp_path / "tables"
    entries = []
    for n_rows in range(1, 7):
        key = f"{n_rows:016x}"
        (folder / key).mkdir(parents=True)
        (folder / key / "table.csv").write_text("a\n" + "1\n" * n_rows)
        entries.append({"key": key, "status": "done", "error": "", "text": "", "findings": []})
    sick = {"status": "quarantined", "error": "InputError", "text": "upstream: it was sick.", "findings": ["Sick"]}
    entries.append({"key": "f" * 16, **sick})
    (folder / "units.json").write_text(json.dumps({"units": entries, "skipped": []}))
    return folder
