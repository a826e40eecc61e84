"""A table in the form of german.data, made by rule: credits of nobody."""

from __future__ import annotations

from pathlib import Path

import numpy as np

_CODES = {
    0: ("A11", "A12", "A13", "A14"), 2: ("A30", "A32", "A34"), 3: ("A40", "A42", "A43"), 5: ("A61", "A65"),
    6: ("A71", "A73", "A75"), 8: ("A91", "A92", "A93", "A94"), 9: ("A101", "A103"), 11: ("A121", "A123"),
    13: ("A141", "A143"), 14: ("A151", "A152"), 16: ("A172", "A173"), 18: ("A191", "A192"), 19: ("A201", "A202"),
}  # fmt: skip
_RANGES = {1: (4, 60), 4: (300, 9000), 7: (1, 5), 10: (1, 5), 12: (19, 70), 15: (1, 4), 17: (1, 3)}


def credit(folder: Path, n_rows: int = 300, seed: int = 0) -> Path:
    """Write `german.data`: good credits are more frequent with status A14, short duration and higher age.

    Args:
        folder: Where.
        n_rows: Credits.
        seed: Of the generator.

    Returns:
        The folder.
    """
    generator = np.random.default_rng(seed)
    columns = [
        generator.choice(_CODES[place], n_rows) if place in _CODES else generator.integers(*_RANGES[place], n_rows)
        for place in range(20)
    ]
    pull = 0.6 + 1.2 * (columns[0] == "A14") - 0.03 * (columns[1] - 24) + 0.02 * (columns[12] - 35)
    good = generator.random(n_rows) < 1 / (1 + np.exp(-pull))
    lines = zip(*columns, np.where(good, 1, 2), strict=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "german.data").write_text("".join(" ".join(map(str, line)) + "\n" for line in lines), encoding="utf-8")
    return folder
