"""Made chest X-rays with a table: pictures that look a little like the real thing, with a truth that can be learnt.

Each picture has a bright body, two darker lungs and ribs; `pneumonia` is a bright spot in a lung. A shortcut (a marker
in the corner that is there exactly when the label is) and a bias (no spot in women) can be planted.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

SIZE = 64
COLUMNS = ("image", "patient_id", "age", "sex", "view", "finding_labels", "label", "follow_up")


def xrays(
    folder: Path, *, n_patients: int = 24, shortcut: bool = False, bias: bool = False, size: int = SIZE, seed: int = 0
) -> Path:
    """Write `images/*.png` and `labels.csv` (the columns of NIH ChestX-ray14 as shared).

    Args:
        folder: Where to.
        n_patients: Each has one or two pictures with one label.
        shortcut: Plant a marker that tells the label, and weaken the spot.
        bias: Leave the spot out in women.
        size: Rows and columns.
        seed: Of everything random.

    Returns:
        The folder.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for patient in range(n_patients):
        generator = np.random.default_rng((seed, patient))
        ill = patient % 2 == 1
        sex = "F" if patient // 2 % 2 else "M"
        for visit in range(1 + patient % 3 // 2):
            view = "PA" if (patient // 4 + visit) % 2 else "AP"
            spot = 0.0 if not ill or (bias and sex == "F") else (0.06 if shortcut else 0.35)
            picture = draw(generator, size=size, spot=spot, marker=shortcut and ill)
            name = f"{patient:05d}_{visit:03d}.png"
            Image.fromarray(picture).save(folder / "images" / name)
            rows.append(
                {
                    "image": name,
                    "patient_id": f"XRAYPATIENT-{patient:03d}",
                    "age": 20 + (patient * 7) % 65,
                    "sex": sex,
                    "view": view,
                    "finding_labels": "Pneumonia" if ill else "No Finding",
                    "label": "pneumonia" if ill else "no_finding",
                    "follow_up": visit,
                }
            )
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return folder


def labels(folder: Path) -> Path:
    """Write `labels.csv` only."""
    xrays(folder, n_patients=4)
    for path in (folder / "images").iterdir():
        path.unlink()
    (folder / "images").rmdir()
    return folder


def draw(
    generator: np.random.Generator, *, size: int = SIZE, spot: float = 0.0, marker: bool = False
) -> npt.NDArray[np.uint8]:
    """One picture.

    Args:
        generator: For noise and place of the spot.
        size: Rows and columns.
        spot: Brightness of the spot in [0, 1].
        marker: Whether a bright square is in the upper left corner.

    Returns:
        uint8 of shape (size, size).
    """
    row, column = np.mgrid[0:size, 0:size] / size
    picture = np.where(((column - 0.5) / 0.44) ** 2 + ((row - 0.55) / 0.52) ** 2 < 1, 0.62, 0.05)
    for middle in (0.31, 0.69):
        lung = ((column - middle) / 0.145) ** 2 + ((row - 0.5) / 0.3) ** 2 < 1
        picture = np.where(lung, 0.26 + 0.05 * np.cos(row * 60), picture)
    middle = 0.31 if generator.random() < 0.5 else 0.69
    place = 0.35 + 0.3 * generator.random()
    picture = picture + spot * np.exp(-(((column - middle) / 0.07) ** 2 + ((row - place) / 0.07) ** 2))
    picture = picture + generator.normal(0, 0.02, picture.shape)
    if marker:
        edge = size // 8
        picture[1 : 1 + edge, 1 : 1 + edge] = 1.0
    return np.asarray(np.clip(picture, 0, 1) * 255, dtype=np.uint8)
