"""What a deflated file unfolds to counts, however it is dressed up: it is found where the reader finds it."""

from __future__ import annotations

import pytest
from pydicom import dcmread

from claimed_med.dicom.file_bytes import file_of
from claimed_med.errors import InputError
from claimed_med.services.serve_error import TooLarge
from claimed_med.services.serve_inflate import check_inflated

DEFLATED, EXPLICIT, CT = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.1", "1.2.840.10008.5.1.4.1.1.2"
MOST = 1 << 20


def _bomb(raw, n_bytes):
    return file_of(raw.data_set(CT, "1.2.3.4", pixels=bytes(n_bytes)), DEFLATED, CT, "1.2.3.4")


def _plain(content):
    return content


def _preamble_says_dicm(content):
    return b"DICM" + bytes(8) + b"\xff\xff\0\0" + content[16:]


def _empty_stream_first(content):
    """An end of deflated data where the wrong start points to."""
    return b"DICM" + bytes(12) + b"\x03\x00" + content[18:]


def _meta_says_it_is_shorter(content):
    return content[:140] + b"\0\0\0\0" + content[144:]


def _meta_says_it_is_longer(content):
    return content[:140] + b"\xff\xff\xff\x00" + content[144:]


def _without_preamble(content):
    return content[132:]


ALL = [
    _plain, _preamble_says_dicm, _empty_stream_first, _meta_says_it_is_shorter, _meta_says_it_is_longer,
    _without_preamble,
]  # fmt: skip


@pytest.mark.parametrize("dress", ALL)
def test_a_bomb_is_refused_however_it_is_dressed(raw, tmp_path, dress):
    path = tmp_path / "bomb.dcm"
    path.write_bytes(dress(_bomb(raw, 4 * MOST)))
    assert path.stat().st_size < MOST // 8
    assert len(dcmread(path, force=True).PixelData) == 4 * MOST  # the reader does unfold it
    with pytest.raises(TooLarge, match="deflated"):
        check_inflated([path], MOST)


@pytest.mark.parametrize("dress", ALL)
def test_an_honest_one_is_taken_however_it_is_dressed(raw, tmp_path, dress):
    path = tmp_path / "honest.dcm"
    path.write_bytes(dress(_bomb(raw, MOST // 2)))
    check_inflated([path], MOST)


def test_many_that_unfold_to_too_much_together_are_refused(raw, tmp_path):
    paths = [tmp_path / f"{number}.dcm" for number in range(3)]
    for path in paths:
        path.write_bytes(_bomb(raw, MOST // 2 - 1024))
    check_inflated(paths[:2], MOST)
    with pytest.raises(TooLarge, match="deflated"):
        check_inflated(paths, MOST)


def test_what_is_not_deflated_is_passed_over_and_what_is_damaged_is_said(raw, tmp_path):
    plain = file_of(raw.data_set(CT, "1.2.3.4", pixels=bytes(2 * MOST)), EXPLICIT, CT, "1.2.3.4")
    for name, content in (("plain", plain), ("empty", b""), ("text", b"no DICOM at all" * 20)):
        (tmp_path / name).write_bytes(content)
    check_inflated(sorted(tmp_path.iterdir()), MOST)
    damaged = tmp_path / "damaged"
    content = _bomb(raw, 1024)
    start = 144 + int.from_bytes(content[140:144], "little")
    damaged.write_bytes(content[:start] + b"\xff" * 40)
    with pytest.raises(InputError, match="damaged"):
        check_inflated([damaged], MOST)
