"""Burned-in text: found, blacked out in every kind of picture, and unreadable for another reader."""

from __future__ import annotations

import os
import shutil
import subprocess
from io import BytesIO

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.pixels import convert_color_space, pixel_array
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, RLELossless

from claimed_med.dicom import burned_in, deid_profile
from claimed_med.errors import InputError, RefusedError

cv2 = pytest.importorskip("cv2", reason="the text reader's image library is not installed")
ROWS, COLUMNS = 240, 400
US, CT, CR = "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.1"
WORDS = ("kowalska", "77410093", "riverside")
REQUIRED = os.environ.get("CLAIMED_MED_REQUIRE_SERVERS") == "1"


def tissue(seed=0):
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    smooth = 70 + 40 * np.sin(columns / 37) * np.cos(rows / 29)
    return np.clip(smooth + np.random.default_rng(seed).normal(0, 5, (ROWS, COLUMNS)), 0, 200).astype(np.uint8)


def written(picture, texts, value=255):
    mask = np.zeros(picture.shape[:2], np.uint8)
    for number, text in enumerate(texts):
        cv2.putText(mask, text, (10, 30 + 60 * number), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 2)
    made = picture.copy()
    made[mask > 0] = value
    return made


def as_object(frames, modality="US", sop_class=US, **changes):
    frames = np.asarray(frames)
    color = frames.shape[-1] == 3
    frames = frames if frames.ndim == (4 if color else 3) else frames[None]
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID, made.Modality = sop_class, "1.2.3.4", modality
    made.Rows, made.Columns = frames.shape[1:3]
    made.SamplesPerPixel = 3 if color else 1
    made.PhotometricInterpretation = "RGB" if color else "MONOCHROME2"
    if color:
        made.PlanarConfiguration = 0
    made.BitsAllocated = made.BitsStored = frames.dtype.itemsize * 8
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(frames.dtype.kind == "i")
    if len(frames) > 1:
        made.NumberOfFrames = len(frames)
    made.PixelData = frames.tobytes()
    made["PixelData"].VR = "OB" if made.BitsAllocated == 8 else "OW"
    for keyword, value in changes.items():
        setattr(made, keyword, value)
    return made


def bytes_of(dataset):
    stream = BytesIO()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def looked(dataset, profile="research"):
    return burned_in.clean_file(bytes_of(dataset), deid_profile.load(profile))


def read_by_another(frame, folder):
    """What tesseract reads in a frame."""
    if shutil.which("tesseract") is None:
        (pytest.fail if REQUIRED else pytest.skip)("tesseract is not installed (make system)")
    values = frame.astype(float) - frame.min()
    large = cv2.resize((values * (255 / max(1, values.max()))).astype(np.uint8), None, fx=2, fy=2)
    cv2.imwrite(str(folder / "frame.png"), large)
    command = ["tesseract", str(folder / "frame.png"), "-", "--psm", "11"]
    environment = {**os.environ, "OMP_THREAD_LIMIT": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.lower()


GRAY = written(tissue(), ["KOWALSKA^ANNA", "ID 77410093", "RIVERSIDE CLINIC"])
COLOR = np.stack([GRAY, tissue(), tissue()], axis=-1)
HOUNSFIELD = tissue().astype(np.int16) * 8 - 1000


def _compressed(syntax, picture):
    made = as_object(picture)
    made.compress(syntax, generate_instance_uid=False)
    return made


OBJECTS = {
    "ultrasound": lambda: as_object(GRAY),
    "colour": lambda: as_object(COLOR),
    "colour by plane": lambda: as_object(COLOR, PlanarConfiguration=1, PixelData=np.moveaxis(COLOR, -1, 0).tobytes()),
    "YBR_FULL": lambda: as_object(convert_color_space(COLOR, "RGB", "YBR_FULL"), PhotometricInterpretation="YBR_FULL"),
    "dark on light": lambda: as_object(written(255 - tissue() // 4, ["KOWALSKA^ANNA", "ID 77410093"], 10)),
    "signed, derived": lambda: as_object(
        written(HOUNSFIELD, ["KOWALSKA^ANNA", "ID 77410093"], 3000), "CT", CT, ImageType=["DERIVED", "SECONDARY"]
    ),
    "signed, brightest, original": lambda: as_object(
        written(HOUNSFIELD, ["KOWALSKA^ANNA", "ID 77410093"], 3000), "CT", CT, ImageType=["ORIGINAL", "PRIMARY"]
    ),
    "MONOCHROME1": lambda: as_object(
        written(tissue().astype(np.uint16) * 16, ["KOWALSKA^ANNA", "ID 77410093"], 4095),
        "CR",
        CR,
        PhotometricInterpretation="MONOCHROME1",
    ),
    "RLE": lambda: _compressed(RLELossless, GRAY),
    "JPEG-LS": lambda: _compressed(JPEGLSLossless, GRAY),
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_text_is_unreadable_for_another_reader(kind, tmp_path):
    before = OBJECTS[kind]()
    result = looked(before)
    after = dcmread(BytesIO(result.data))
    assert result.n_regions >= 2
    assert after.BurnedInAnnotation == "NO"
    assert after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID
    frame = pixel_array(after)
    told = read_by_another(frame if frame.ndim == 2 else frame.max(axis=-1), tmp_path)
    assert not [word for word in WORDS if word in told]
    old, new = pixel_array(before), pixel_array(after)
    assert (old != new).mean() < 0.35
    assert np.array_equal(old[-30:], new[-30:])


def test_every_frame_is_looked_at(tmp_path):
    frames = [tissue(1), written(tissue(2), ["KOWALSKA^ANNA"]), written(tissue(3), ["ID 77410093"]), tissue(4)]
    after = pixel_array(dcmread(BytesIO(looked(as_object(frames)).data)))
    assert [np.array_equal(one, other) for one, other in zip(frames, after, strict=True)] == [True, False, False, True]
    for frame in after:
        told = read_by_another(frame, tmp_path)
        assert not [word for word in WORDS if word in told]


@pytest.mark.parametrize("modality", ["US", "CT", "CR"])
def test_a_picture_without_text_keeps_its_bytes(modality):
    data = bytes_of(as_object(tissue(), modality))
    assert burned_in.clean_file(data, deid_profile.load("research")).data is data


def test_markers_of_the_side_stay():
    data = bytes_of(as_object(written(tissue(), ["R"]), "CR", CR))
    assert burned_in.clean_file(data, deid_profile.load("research")).data is data


def test_a_slide_label_goes_unread():
    label = as_object(
        np.stack([tissue()] * 3, -1), "SM", "1.2.840.10008.5.1.4.1.1.77.1.6", ImageType="ORIGINAL\\PRIMARY\\LABEL"
    )
    result = looked(label)
    assert result.reason == "slide label"
    assert not pixel_array(dcmread(BytesIO(result.data))).any()


def test_pixels_that_cannot_be_decoded_are_refused():
    video = as_object(GRAY, "ES")
    video.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"
    from pydicom.encaps import encapsulate

    video.PixelData = encapsulate([b"\0\0\0\x01" * 20])
    video["PixelData"].is_undefined_length = True
    with pytest.raises(InputError, match="decoded"):
        looked(video)


def test_text_of_single_bits_is_refused():
    bits = np.packbits((written(np.zeros((ROWS, COLUMNS), np.uint8), ["KOWALSKA^ANNA"]) > 0).ravel(), bitorder="little")
    made = as_object(GRAY, "OT", "1.2.840.10008.5.1.4.1.1.7.1")
    made.BitsAllocated = made.BitsStored = 1
    made.HighBit, made.NumberOfFrames, made.PixelData = 0, 1, bits.tobytes()
    with pytest.raises(RefusedError, match="single bits"):
        looked(made)
