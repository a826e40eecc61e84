"""Pictures of volumes: a mosaic of slices with an overlay, and PNG bytes that are the same every time."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Sequence

Picture = npt.NDArray[np.uint8]
COLOURS = ((230, 60, 60), (70, 130, 240), (80, 200, 100), (240, 190, 50), (190, 90, 220), (60, 200, 210))
WINDOWS = {"CT": (-160.0, 240.0), "lungs": (-1350.0, 150.0)}
_TILE, _COLUMNS = 192, 4
_CONTOUR, _FILL = 1.0, 0.28


def mosaic(
    array: npt.NDArray[Any],
    *,
    labels: npt.NDArray[Any] | None = None,
    spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
    n_tiles: int = 12,
    window: tuple[float, float] | None = None,
) -> Picture:
    """Lay evenly chosen slices side by side, each segment as a tint with a contour.

    Args:
        array: Shape (slice, row, column).
        labels: Segment numbers, same shape, 0 = none.
        spacing_mm: Between slices, rows, columns [mm]; pixels are drawn square.
        n_tiles: Most slices that are shown; those with labels are preferred.
        window: Lowest and highest value shown; by default the 1st and 99th percentile.

    Returns:
        Shape (row, column, 3), uint8.
    """
    low, high = window or _percentiles(array)
    chosen = _chosen(array.shape[0], labels, n_tiles)
    tiles = [
        _tile(array[index], None if labels is None else labels[index], spacing_mm[1:], (low, high)) for index in chosen
    ]
    columns = min(_COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    height, width = max(tile.shape[0] for tile in tiles), max(tile.shape[1] for tile in tiles)
    sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // columns * height, number % columns * width
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet


def png(picture: npt.NDArray[Any]) -> bytes:
    """Encode a picture as PNG: shape (row, column) or (row, column, 3), uint8; no time, no metadata."""
    pixels = np.ascontiguousarray(picture, np.uint8)
    colour_type = 0 if pixels.ndim == 2 else 2
    height, width = pixels.shape[:2]
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    head = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    body = _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(lines.tobytes(), 6)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _percentiles(array: npt.NDArray[Any]) -> tuple[float, float]:
    step = max(1, array.size // 1_000_000)
    low, high = np.percentile(array.ravel()[::step], [1, 99])
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1.0)


def _chosen(n_slices: int, labels: npt.NDArray[Any] | None, n_tiles: int) -> list[int]:
    first, last = 0, n_slices - 1
    if labels is not None and labels.any():
        held = np.flatnonzero(labels.reshape(n_slices, -1).any(axis=1))
        first, last = int(held[0]), int(held[-1])
    return sorted({round(place) for place in np.linspace(first, last, min(n_tiles, last - first + 1))})


def _tile(
    plane: npt.NDArray[Any], labels: npt.NDArray[Any] | None, spacing_mm: Sequence[float], window: tuple[float, float]
) -> Picture:
    grey = np.clip((plane.astype(np.float32) - window[0]) / (window[1] - window[0]), 0, 1)
    height, width = plane.shape[0] * spacing_mm[0], plane.shape[1] * spacing_mm[1]
    scale = _TILE / max(height, width)
    factors = (scale * spacing_mm[0], scale * spacing_mm[1])
    grey = ndimage.zoom(grey, factors, order=1, mode="nearest", grid_mode=True)
    picture = np.repeat(np.clip(grey, 0, 1)[..., None], 3, axis=2) * 255.0
    if labels is not None:
        seen = ndimage.zoom(labels, factors, order=0, mode="nearest", grid_mode=True)
        _paint(picture, seen)
    return np.asarray(np.round(picture), np.uint8)


def _paint(picture: npt.NDArray[Any], labels: npt.NDArray[Any]) -> None:
    for number in np.unique(labels[labels > 0]):
        colour = np.asarray(COLOURS[(int(number) - 1) % len(COLOURS)], np.float32)
        mask = labels == number
        edge = mask & ~ndimage.binary_erosion(mask)
        picture[mask] = picture[mask] * (1 - _FILL) + colour * _FILL
        picture[edge] = picture[edge] * (1 - _CONTOUR) + colour * _CONTOUR


def window_for(modality: str, labels: Sequence[str]) -> tuple[float, float] | None:
    """The window in which a modality is usually read, or None for percentiles."""
    if modality == "CT" and any("lung" in label.lower() for label in labels):
        return WINDOWS["lungs"]
    return WINDOWS.get(modality)
