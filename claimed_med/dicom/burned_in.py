"""Burned-in text: find it, black it out in every frame and transfer syntax, and look again."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom import dcmread
from pydicom.pixels import pixel_array
from pydicom.uid import ExplicitVRLittleEndian

from claimed_med.dicom.elements import BIG, PIXEL_DATA, elements, open_bytes
from claimed_med.dicom.header import quiet, text
from claimed_med.dicom.rules import parse
from claimed_med.dicom.uid import to_bytes
from claimed_med.errors import InputError, RefusedError
from claimed_med.imaging.text_regions import Box, find_text, looks_like_text

if TYPE_CHECKING:
    from pydicom import Dataset

    from claimed_med.dicom.deid_profile import Profile

ALWAYS = frozenset("US IVUS XA RF CR DX MG IO PX SC OT ES XC DG GM OP TG HD LS".split())
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_LOSSLESS = {
    "1.2.840.10008.1.2.5",  # RLE
    "1.2.840.10008.1.2.4.80",  # JPEG-LS
    "1.2.840.10008.1.2.4.90",  # JPEG 2000
}
_ROUNDS = 3
_MARGIN = 3
_COMPRESSED_FLOATS = frozenset({0x7FE00008, 0x7FE00009})


@dataclass(frozen=True)
class Looked:
    """What a look at the pixels gave.

    Attributes:
        data: The bytes of the file; the same object where there was nothing to do.
        reason: Why the pixels were looked at, or ''.
        n_regions: Regions that were blacked out.
    """

    data: bytes
    reason: str = ""
    n_regions: int = 0


def clean_file(data: bytes, profile: Profile) -> Looked:
    """Black out burned-in text.

    Args:
        data: A DICOM file.
        profile: Its `pixels`: `auto` looks where text is to be expected, `always` everywhere, `never` nowhere.

    Raises:
        InputError: The pixels must be looked at but cannot be decoded.
        RefusedError: Text is left after three rounds.
    """
    if profile.pixels == "never" or not _has_pixels(data):
        return Looked(data)
    with quiet():
        dataset = dcmread(BytesIO(data))
        reason = "always" if profile.pixels == "always" else needs_look(dataset)
        if not reason:
            return Looked(data)
        n_regions = clean(dataset)
        if not n_regions:
            return Looked(data, reason)
        return Looked(to_bytes(dataset), reason, n_regions)


def needs_look(dataset: Dataset) -> str:
    """Why the pixels of an object should be looked at for text; '' when they need not.

    BurnedInAnnotation NO is trusted for CT, MR, PT and NM only, and there the pixels themselves are asked.
    """
    if reason := _expected(dataset):
        return reason
    if text(dataset, "Modality") in {"SEG", "RTDOSE", "SM"} or dataset.get("BitsAllocated") not in {8, 16}:
        return ""
    frames = _frames(dataset)
    return "characters in the pixels" if any(looks_like_text(one) for one in frames if one.ndim == 2) else ""


def _expected(dataset: Dataset) -> str:
    """Why text is to be expected by the header, or ''."""
    modality, kind = text(dataset, "Modality"), text(dataset, "ImageType").upper()
    annotated = text(dataset, "BurnedInAnnotation")
    derived = "DERIVED" in kind and annotated != "NO" and modality != "SM"
    reasons = {
        "secondary capture": f"{text(dataset, 'SOPClassUID')}.".startswith(f"{_SECONDARY_CAPTURE}.")
        or bool(text(dataset, "ConversionType")),
        f"modality {modality or 'unknown'}": modality in ALWAYS or not modality,
        "slide label": modality == "SM" and ("LABEL" in kind or "OVERVIEW" in kind),
        "BurnedInAnnotation YES": annotated == "YES",
        "derived image": modality not in {"SEG", "RTDOSE"} and (derived or "SCREEN" in kind or "SECONDARY" in kind),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def clean(dataset: Dataset) -> int:
    """Black out all text in the pixels of an object, in place; the number of regions.

    Raises:
        InputError: The pixels cannot be decoded.
        RefusedError: Text is left after three rounds.
    """
    boxes = _boxes(dataset, _frames(dataset))
    n_regions = sum(map(len, boxes.values()))
    if not n_regions:
        return 0
    if dataset.BitsAllocated not in {8, 16, 32}:
        raise RefusedError("de-identification", "there is text in a picture of single bits", do="leave this object out")
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    _make_native(dataset)
    for margin in range(1, _ROUNDS + 1):
        black_out(dataset, boxes, margin * _MARGIN)
        frames = _frames(dataset)
        left = {index: found for index in boxes if (found := find_text(frames[index]))}
        if not left:
            break
        boxes = left
    else:
        raise RefusedError("de-identification", "burned-in text is left that cannot be taken out")
    if syntax in _LOSSLESS:
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.BurnedInAnnotation = "NO"
    return n_regions


def black_out(dataset: Dataset, boxes: dict[int, list[Box]], margin: int = 0) -> None:
    """Set rectangles of frames to black, in place; the pixel data must not be compressed.

    Args:
        dataset: With native pixel data.
        boxes: Frame index -> rectangles.
        margin: Pixels around them that go too.
    """
    samples, planar = int(dataset.SamplesPerPixel), int(dataset.get("PlanarConfiguration", 0) or 0)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    big = str(dataset.file_meta.TransferSyntaxUID) == BIG
    kind = np.dtype(f"{'>' if big else '<'}{'i' if dataset.PixelRepresentation else 'u'}{dataset.BitsAllocated // 8}")
    n_frames = int(dataset.get("NumberOfFrames", 1) or 1)
    size = n_frames * rows * columns * samples
    stored = np.frombuffer(dataset.PixelData, kind)[:size].copy()
    shape = (n_frames, samples, rows, columns) if planar else (n_frames, rows, columns, samples)
    view = stored.reshape(shape)
    view = np.moveaxis(view, 1, -1) if planar else view
    black = _black(dataset, stored)
    for index, found in boxes.items():
        for box in found:
            place = slice(max(0, box.top - margin), box.bottom + margin + 1)
            view[index, place, max(0, box.left - margin) : box.right + margin + 1] = black
    raw = stored.tobytes()
    dataset.PixelData = raw + b"\0" * (len(raw) % 2)


def _black(dataset: Dataset, stored: np.ndarray[Any, Any]) -> Any:
    kind = str(dataset.PhotometricInterpretation)
    if kind.startswith("YBR"):
        return np.array([0, 128, 128])
    if kind == "PALETTE COLOR":
        table = np.frombuffer(dataset.RedPaletteColorLookupTableData, "<u2").astype(int)
        first = dataset.RedPaletteColorLookupTableDescriptor[1]
        return int(table.argmin()) + int(first)
    if kind == "MONOCHROME1":
        return stored.max()
    return stored.min() if kind == "MONOCHROME2" else 0


def _make_native(dataset: Dataset) -> None:
    if dataset.file_meta.TransferSyntaxUID.is_compressed and "PixelData" in dataset:
        if dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1.99":
            dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            return
        dataset.decompress(as_rgb=True, generate_instance_uid=False)
    if str(dataset.PhotometricInterpretation) == "YBR_FULL_422":
        decoded = pixel_array(dataset, raw=False)
        dataset.PixelData = np.ascontiguousarray(decoded).tobytes()
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0


def _frames(dataset: Dataset) -> list[np.ndarray[Any, Any]]:
    """Every frame as stored values, or as RGB."""
    try:
        decoded = pixel_array(dataset)
    except Exception as error:  # noqa: BLE001 - decoders fail in every way
        raise InputError(
            "de-identification",
            "pixels that may hold text cannot be decoded",
            got=type(error).__name__,
            do="decompress the object, or leave it out",
        ) from None
    several = int(dataset.get("NumberOfFrames", 1) or 1) > 1
    return list(decoded) if several else [decoded]


def _boxes(dataset: Dataset, frames: list[np.ndarray[Any, Any]]) -> dict[int, list[Box]]:
    known = _vendor_boxes(dataset)
    boxes: dict[int, list[Box]] = {}
    for index, frame in enumerate(frames):
        if index and np.array_equal(frame, frames[index - 1]):
            found = boxes.get(index - 1, [])
        else:
            found = known + [one for one in find_text(frame) if one not in known]
        if found:
            boxes[index] = found
    return boxes


@cache
def _vendor_rules() -> list[tuple[Any, list[list[float]]]]:
    told = tomllib.loads((Path(__file__).parent / "confidentiality" / "regions.toml").read_text(encoding="utf-8"))
    return [(parse(one["rule"]), one["boxes"]) for one in told["region"]]


def _vendor_boxes(dataset: Dataset) -> list[Box]:
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    return [
        Box(int(left * columns), int(top * rows), int(right * columns) - 1, int(bottom * rows) - 1, "")
        for rule, boxes in _vendor_rules()
        if rule.matches(dataset)
        for left, top, right, bottom in boxes
    ]


def _has_pixels(data: bytes) -> bool:
    stored = open_bytes(data)
    return any(
        one.tag in PIXEL_DATA - _COMPRESSED_FLOATS
        for one in elements(stored.data, stored.start, len(stored.data), stored.encoding)
    )
