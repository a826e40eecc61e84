from __future__ import annotations

from pathlib import Path

import pytest

from claimed_med import payload
from claimed_med.errors import InputError


def test_the_digest_depends_on_names_and_contents_but_not_on_lineage(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    first = payload.folder_digest(tmp_path)
    (tmp_path / "lineage.json").write_text("{}")
    assert payload.folder_digest(tmp_path) == first
    (tmp_path / "a").rename(tmp_path / "b")
    assert payload.folder_digest(tmp_path) != first


def test_many_files_hash_like_few(tmp_path):
    entries = {f"{number}": f"{number}".encode() for number in range(20)}
    assert payload.digest_files(entries) == {name: payload.sha256_of(content) for name, content in entries.items()}


def test_a_copy_is_no_link_to_its_source(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"before")
    payload.copy_file(source, target)
    target.write_bytes(b"after")
    assert (source.read_bytes(), target.stat().st_nlink) == (b"before", 1)


def test_a_folder_appears_only_when_it_is_complete(tmp_path):
    def fail():
        with payload.replace_folder(tmp_path / "out") as partial:
            (partial / "half").write_text("x")
            raise InputError("test", "stop")

    with pytest.raises(InputError):
        fail()
    assert list(tmp_path.iterdir()) == []
    with payload.replace_folder(tmp_path / "out") as partial:
        (partial / "whole").write_text("x")
        assert not (tmp_path / "out").exists()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["whole"]


def test_working_files_are_no_payload(tmp_path):
    (tmp_path / ".journal.jsonl").write_text("x")
    (tmp_path / ".partial-1").mkdir()
    (tmp_path / ".partial-1" / "x").write_text("x")
    assert payload.files_below(tmp_path) == {}


def test_two_writers_of_one_folder_are_both_done_whoever_comes_first(tmp_path, monkeypatch):
    """Each sees what was there before the other moved: nothing, or the same old folder."""
    rename, target = Path.rename, tmp_path / "out"

    def finished(name):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
        return tmp_path / name

    def overtaken(path, place):
        monkeypatch.setattr(Path, "rename", rename)
        payload.move_into_place(finished("other"), target)
        return rename(path, place)

    for name in ("first", "second"):  # nothing is there, then a folder is
        monkeypatch.setattr(Path, "rename", overtaken)
        payload.move_into_place(finished(name), target)
        assert (target / "file").read_text() == name
        assert list(tmp_path.iterdir()) == [target]
