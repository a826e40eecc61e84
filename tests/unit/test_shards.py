"""Parts of a mapped run, worked on by different processes, and joined: the same as in one piece."""

from __future__ import annotations

import json

import pytest

from claimed_med.mapping import Part
from claimed_med.payload import folder_digest
from claimed_med.run import main


@pytest.fixture
def words(parts, tables):
    """The command line of a mapped component of the tests."""

    def run(out, *options):
        return main([str(parts / "count_rows.py"), "--table", str(tables), "--out", str(out), *options])

    return run


def _ports(out):
    return {path.parent.name: path.parent for path in out.glob("*/lineage.json")}


def _units(folder):
    return {unit["key"]: unit["status"] for unit in json.loads((folder / "units.json").read_text())["units"]}


def test_every_unit_belongs_to_exactly_one_part():
    keys = [f"{number:016x}" for number in range(200)]
    for n_parts in (1, 2, 5):
        owners = [[part for part in range(n_parts) if Part(part, n_parts).holds(key)] for key in keys]
        assert all(len(one) == 1 for one in owners)
        assert {one[0] for one in owners} == set(range(n_parts))


def test_parts_joined_are_the_same_as_one_piece(words, tmp_path):
    assert words(tmp_path / "whole") == 0
    for index in range(3):
        assert words(tmp_path / "parts", "--shard", f"{index}/3") == 0
    assert words(tmp_path / "parts", "--gather", "3") == 0
    whole, joined = _ports(tmp_path / "whole"), _ports(tmp_path / "parts")
    assert whole.keys() == joined.keys()
    for port, folder in whole.items():
        assert folder_digest(folder) == folder_digest(joined[port])
    assert not list((tmp_path / "parts").glob(".part-*"))


def test_joining_does_again_what_no_part_did(words, tmp_path):
    assert words(tmp_path / "out", "--shard", "1/3") == 0
    part = tmp_path / "out" / ".part-1-passed"
    done = [key for key, status in _units(part).items() if status == "done"]
    assert 0 < len(done) < 6
    inodes = {key: {one.name: one.stat().st_ino for one in (part / key).iterdir()} for key in done}
    assert words(tmp_path / "out", "--gather", "3") == 0
    joined = _ports(tmp_path / "out")["passed"]
    assert list(_units(joined).values()).count("done") == 6
    assert all({one.name: one.stat().st_ino for one in (joined / key).iterdir()} == inodes[key] for key in done)


def test_a_failed_unit_fails_no_part_and_is_told_when_they_are_joined(words, tmp_path):
    for index in range(2):
        assert words(tmp_path / "out", "--shard", f"{index}/2", "--refuse-rows", "3") == 0
    options = ["--gather", "2", "--refuse-rows", "3", "--max-quarantined", "0"]
    assert words(tmp_path / "out", *options) == 3
    assert list(_units(_ports(tmp_path / "out")["passed"]).values()).count("quarantined") == 1


@pytest.mark.parametrize("text", ["3/3", "1", "a/b", "-1/2", "1/0"])
def test_a_part_that_is_none_is_named(text, words, tmp_path, capsys):
    assert words(tmp_path / "out", f"--shard={text}") == 2
    assert "--shard takes I/N" in capsys.readouterr().err
