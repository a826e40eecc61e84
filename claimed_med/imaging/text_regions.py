"""Find text in pictures: boxes and what they say. Arrays in, boxes out; the models lie in the package, offline."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from claimed_med.errors import MissingDependencyError

LONGEST_SIDE = 1600
SMALLEST_SIDE = 640
MARKERS = frozenset(
    "R L RT LT RIGHT LEFT AP PA LAT LATERAL ERECT UPRIGHT SUPINE SITTING PORTABLE A P H F S I AR AL PR PL".split()
)
_LEAST_SCORE = 0.3
_LEAST_COMPONENTS, _MOST_COVERED = 6, 0.08


class Box(NamedTuple):
    """A rectangle in pixels, borders included, and the text in it."""

    left: int
    top: int
    right: int
    bottom: int
    text: str


def find_text(picture: npt.NDArray[Any], *, markers: bool = False) -> list[Box]:
    """Text in a picture.

    Args:
        picture: Shape (row, column) or (row, column, 3), any numeric type.
        markers: Also list laterality and position markers (`R`, `AP` ...), which name nobody.

    Returns:
        Boxes, in the order of reading.

    Raises:
        MissingDependencyError: The reader is not installed.
    """
    boxes: list[Box] = []
    for view in _views(picture):
        for box in _read(view):
            if (markers or not is_marker(box.text)) and not any(_inside(box, one) for one in boxes):
                boxes.append(box)
    return sorted(boxes, key=lambda one: (one.top, one.left))


def is_marker(text: str) -> bool:
    """Whether a text is a laterality or position marker and nothing else."""
    words = "".join(one if one.isalnum() else " " for one in text.upper()).split()
    return 0 < len(words) <= 2 and all(word in MARKERS for word in words)


def looks_like_text(picture: npt.NDArray[Any]) -> bool:
    """Whether characters of the greatest value stand in rows: a cheap look before the reader is asked.

    Args:
        picture: Shape (row, column).
    """
    from scipy import ndimage

    mask = picture == picture.max()
    covered = float(mask.mean())
    if not 0 < covered < _MOST_COVERED:
        return False
    _, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if count < _LEAST_COMPONENTS:
        return False
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    shapes = [
        (place[0].start, place[0].stop - place[0].start, place[1].stop - place[1].start)
        for place in ndimage.find_objects(labels)
    ]
    letters = [(top + height / 2, height) for top, height, width in shapes if 5 <= height <= 80 and 1 <= width <= 80]
    return any(
        sum(abs(middle - other) <= height / 2 and 0.6 <= size / height <= 1.6 for other, size in letters)
        >= _LEAST_COMPONENTS
        for middle, height in letters[:200]
    )


def _views(picture: npt.NDArray[Any]) -> list[npt.NDArray[np.uint8]]:
    """The picture in 8 bits: from least to greatest value; and, where that hides the rest, without the extremes."""
    values = np.asarray(picture, dtype=np.float32)
    if picture.ndim == 3:
        return [np.ascontiguousarray(np.clip(values, 0, 255).astype(np.uint8))]
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return []
    views = [_scaled(values, low, high)]
    inner = float(np.percentile(values, 99.5))
    if low < inner < low + 0.6 * (high - low):
        views.append(_scaled(values, low, inner))
    return views


def _scaled(values: npt.NDArray[np.float32], low: float, high: float) -> npt.NDArray[np.uint8]:
    scaled = np.clip((values - low) * (255.0 / (high - low)), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(scaled[..., None], 3, axis=2))


def _read(view: npt.NDArray[np.uint8]) -> list[Box]:
    import cv2

    rows, columns = view.shape[:2]
    factor = min(1.0, LONGEST_SIDE / max(rows, columns))
    factor = max(factor, min(4.0, SMALLEST_SIDE / max(rows, columns)))
    if factor != 1.0:
        kind = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        view = np.asarray(cv2.resize(view, None, fx=factor, fy=factor, interpolation=kind), dtype=np.uint8)
    found, _ = _engine()(view)
    boxes = []
    for corners, text, _ in found or []:
        place = np.asarray(corners) / factor
        left, top = np.floor(place.min(axis=0)).astype(int)
        right, bottom = np.ceil(place.max(axis=0)).astype(int)
        boxes.append(Box(max(0, left), max(0, top), min(columns - 1, right), min(rows - 1, bottom), str(text)))
    return boxes


def _inside(box: Box, other: Box) -> bool:
    return (
        other.left <= box.left + 2
        and other.top <= box.top + 2
        and box.right <= other.right + 2
        and box.bottom <= other.bottom + 2
    )


@lru_cache(maxsize=1)
def _engine() -> Any:
    try:
        from rapidocr_onnxruntime import RapidOCR
    except ImportError:
        raise MissingDependencyError(
            "rapidocr_onnxruntime",
            "is not installed",
            do="run: pip install 'claimed_med[ocr]' && pip install --no-deps rapidocr-onnxruntime==1.4.4",
        ) from None
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    return RapidOCR(use_cls=False, text_score=_LEAST_SCORE, intra_op_num_threads=1, inter_op_num_threads=1)
