"""Bootstrap by patient: images of one patient are drawn together, since they are not independent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FEWEST = 20


def patient_weights(patients: Sequence[str], n_samples: int, seed: int) -> npt.NDArray[np.float64]:
    """How often each row occurs in each bootstrap sample, when patients are drawn with replacement.

    Statistics are computed from weights at once for all samples, which is far faster than a loop over resampled rows.

    Args:
        patients: The patient of every row.
        n_samples: Bootstrap samples.
        seed: Of the generator.

    Returns:
        Shape (n_samples, n_rows).

    Source:
        Efron and Tibshirani 1993, chapter 8 (cluster bootstrap).
    """
    names, owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    generator = np.random.default_rng(seed)
    drawn = generator.integers(0, len(names), size=(n_samples, len(names)))
    counts = (
        np.apply_along_axis(np.bincount, 1, drawn, minlength=len(names)) if len(names) else np.zeros((n_samples, 0))
    )
    return np.asarray(counts[:, owner], dtype=np.float64)


def interval(values: npt.ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of bootstrap values.

    Args:
        values: One a sample; NaN where the statistic does not exist.
        level: Coverage.

    Returns:
        Lower and upper bound; NaN when fewer than 20 samples have a value.
    """
    found = np.asarray(values, dtype=np.float64)
    found = found[np.isfinite(found)]
    if len(found) < FEWEST:
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return float(low), float(high)
