"""Whatever is altered after a folder was signed is found, and the place is named."""

from __future__ import annotations

import pytest

from claimed_med.provenance.verify import verify

from .tampering import CLASSES, CRATE, METADATA, OUTPUT, RECORDS

MATRIX = {
    **{("run", "output", name): case for name, case in OUTPUT.items()},
    **{("crate", "output", name): case for name, case in OUTPUT.items()},
    **{("run", "record", name): case for name, case in RECORDS.items()},
    **{("crate", "record", name): case for name, case in RECORDS.items()},
    **{("crate", "crate", name): case for name, case in CRATE.items()},
}


def test_the_matrix_has_every_class_of_place():
    assert [set(CLASSES) - set(cases) for cases in (OUTPUT, RECORDS, CRATE)] == [set()] * 3


@pytest.mark.parametrize(("where", "what", "name"), MATRIX)
def test_an_alteration_is_found_and_named(copy, public, where, what, name):
    case = MATRIX[where, what, name]
    folder = copy(where)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    path = case.alter(folder)
    assert before != {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
    found = [one for one in verify(folder, public)[1] if one.name == path.relative_to(folder).as_posix()]
    assert [one for one in found if one.kind == case.kind and case.words in one.text], found


@pytest.mark.parametrize("where", ["run", "crate"])
def test_a_flipped_bit_is_found_in_every_file(copy, public, where):
    folder = copy(where)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    seen = {}
    for number, path in enumerate(files):
        content = path.read_bytes()
        place = (number * 7919 + 200) % len(content)
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        name = path.relative_to(folder).as_posix()
        seen[name] = {one.kind for one in verify(folder, public)[1] if one.name == name}
        path.write_bytes(content)
    assert len(seen) > 20
    assert (METADATA in seen) == (where == "crate")
    assert [name for name, kinds in seen.items() if not kinds & {"changed", "signature"}] == []


@pytest.mark.parametrize("name", sorted(set(OUTPUT) - {"signature", "key", "file added", "file linked"}))
def test_without_a_key_the_records_tell_of_outputs(copy, name):
    folder = copy("run")
    path = OUTPUT[name].alter(folder)
    assert (OUTPUT[name].kind, path.relative_to(folder).as_posix()) in {
        (one.kind, one.name) for one in verify(folder)[1]
    }
