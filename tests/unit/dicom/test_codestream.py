"""A codestream that claims to be larger than its DICOM header is refused before a decoder believes it."""

from __future__ import annotations

import struct

import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless

import claimed_med as cm
from claimed_med.dicom.codestream import coded_size
from claimed_med.errors import InputError
from claimed_med.testing import phantoms


@pytest.fixture(params=[JPEG2000Lossless, JPEGLSLossless], ids=["jpeg-2000", "jpeg-ls"])
def compressed(request, tmp_path):
    """One compressed slice, and its frame."""
    phantoms.write("chest_ct", tmp_path / "ct")
    header = dcmread(min((tmp_path / "ct").rglob("*.dcm")))
    header.compress(request.param, generate_instance_uid=False)
    return header, bytearray(next(generate_frames(header.PixelData, number_of_frames=1)))


def _written(header, frame, path):
    header.PixelData = encapsulate([bytes(frame)])
    header["PixelData"].is_undefined_length = True
    header.save_as(path)
    return path


def test_the_size_is_read_from_the_codestream(compressed):
    header, frame = compressed
    assert coded_size(bytes(frame)) == (header.Rows, header.Columns)


def test_a_larger_codestream_is_refused_and_the_true_one_is_read(compressed, tmp_path):
    header, frame = compressed
    plain = cm.DicomSeries(_written(header, frame, tmp_path / "true.dcm")).load()
    assert plain.volume().array.shape == (1, header.Rows, header.Columns)
    if frame[2:4] == b"\xff\x51":
        struct.pack_into(">II", frame, 8, 50_000, 50_000)
    else:
        struct.pack_into(">HH", frame, frame.find(b"\xff\xf7") + 5, 50_000, 50_000)
    assert coded_size(bytes(frame)) == (50_000, 50_000)
    with pytest.raises(InputError, match="cannot be decoded"):
        cm.DicomSeries(_written(header, frame, tmp_path / "bomb.dcm")).load().volume()


@pytest.mark.parametrize("junk", [b"", b"\xff\xd8", b"\xff\xd8\xff\xc0", b"\xff\x4f\xff\x51\x00", b"RLE" * 30])
def test_what_is_no_codestream_has_no_size(junk):
    assert coded_size(junk) is None
