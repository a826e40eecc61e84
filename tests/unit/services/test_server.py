"""What `claimed-med serve` refuses at once."""

from __future__ import annotations

import pytest

from claimed_med.errors import ContractError, InputError
from claimed_med.services.server import main


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("--work", "file"),
        ("--work", "file/below"),
        ("--lineage", "file/below"),
        ("--pictures", "file"),
        ("--audit", "folder"),
        ("--audit", "nowhere/audit.jsonl"),
    ],
)
def test_a_place_that_cannot_be_written_is_named_at_once(option, name, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(ContractError, match=f"{option} names no place"):
        main([str(tmp_path), option, str(tmp_path / name)])
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize(
    ("option", "name"), [("--work", "new/folder"), ("--lineage", "folder"), ("--audit", "file"), ("--audit", "new")]
)
def test_a_place_that_can_be_written_is_none_to_refuse(option, name, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"no bundle\.json"):
        main([str(tmp_path), option, str(tmp_path / name)])


def test_a_decision_that_is_not_there_is_said_to_be_missing(tmp_path):
    (tmp_path / "bundle.json").write_text("{}")
    with pytest.raises(InputError, match="place of the decision"):
        main([str(tmp_path), "--decision", str(tmp_path / "nothing")])
