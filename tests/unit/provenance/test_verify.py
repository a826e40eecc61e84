"""What was signed is verified whole: any byte of the signature, another key, no key at all."""

from __future__ import annotations

import pytest

from claimed_med.errors import InputError
from claimed_med.provenance import keys, sign
from claimed_med.provenance.verify import verify

from .tampering import header, pixel


@pytest.mark.parametrize("place", ["run", "crate"])
@pytest.mark.parametrize("step", [1, 97])
def test_any_byte_of_the_signature_counts(copy, public, place, step):
    folder = copy(place)
    path = folder / sign.NAME
    content = path.read_bytes()
    places = range(len(content) - 400, len(content), 7) if step == 1 else range(0, len(content), len(content) // step)
    for number in places:
        path.write_bytes(content[:number] + bytes([content[number] ^ 1]) + content[number + 1 :])
        found = verify(folder, public)[1]
        assert [one for one in found if (one.kind, one.name) == ("signature", sign.NAME)], number


@pytest.mark.parametrize("place", ["run", "crate"])
def test_another_key_is_named(copy, public, tmp_path, place):
    folder = copy(place)
    other = keys.make(tmp_path / "stranger.pem")
    header(folder)
    sign.sign(folder, tmp_path / "stranger.pem")
    found = verify(folder, public)[1]
    assert [one.kind for one in found if one.name == sign.NAME] == ["signature"]
    assert "another key" in next(one.text for one in found if one.kind == "signature")
    assert "signature" not in {one.kind for one in verify(folder, other)[1]}


def test_a_removed_signature_is_named(copy, public):
    folder = copy("run")
    (folder / sign.NAME).unlink()
    assert [(one.kind, one.name) for one in verify(folder, public)[1]] == [("signature", sign.NAME)]


@pytest.mark.parametrize("place", ["run", "crate"])
def test_nothing_altered_is_nothing_found(copy, public, place):
    folder = copy(place)
    n_files, found = verify(folder, public)
    assert found == []
    assert n_files > 20
    assert verify(folder)[1] == []


def test_without_a_key_the_records_are_the_measure(copy):
    folder = copy("run")
    (folder / sign.NAME).unlink()
    path = pixel(folder)
    assert [(one.kind, one.name) for one in verify(folder)[1]] == [("changed", path.relative_to(folder).as_posix())]


def test_a_folder_without_records_cannot_be_verified(tmp_path):
    with pytest.raises(InputError, match=r"no lineage\.json"):
        verify(tmp_path)
