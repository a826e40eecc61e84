"""Intervals of the area under the ROC curve without resampling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, rankdata

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Area:
    """An area under the ROC curve.

    Attributes:
        auc: The area.
        variance: Of the area; patients are the independent units.
        low: Lower bound, on the logit scale and so within [0, 1].
        high: Upper bound.
    """

    auc: float
    variance: float
    low: float
    high: float


def auc_interval(scores: npt.ArrayLike, positive: npt.ArrayLike, patients: npt.ArrayLike, level: float = 0.95) -> Area:
    """DeLong's interval; rows of one patient are taken together, as Obuchowski does.

    Args:
        scores: One a row.
        positive: Whether the row belongs to the positive class; both classes must occur.
        patients: The patient of every row.
        level: Coverage.

    Source:
        DeLong et al. 1988, doi:10.2307/2531595; Obuchowski 1997, doi:10.2307/2533958.
    """
    found, truth = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    area, ill, well = _placements(found, truth)
    variance = _clustered(area, ill, well, truth, np.asarray(patients).astype(str))
    if not 0 < area < 1 or variance <= 0:
        return (
            Area(area, max(variance, 0.0), area, area) if variance == 0 and 0 < area < 1 else _edge(area, truth, level)
        )
    logit, spread = np.log(area / (1 - area)), np.sqrt(variance) / (area * (1 - area))
    step = norm.ppf(0.5 + level / 2) * spread
    low, high = (1 / (1 + np.exp(-(logit + sign * step))) for sign in (-1, 1))
    return Area(area, variance, float(low), float(high))


def compare(first: npt.ArrayLike, second: npt.ArrayLike, positive: npt.ArrayLike) -> tuple[float, float]:
    """Difference of the areas of two scores on the same rows, and its two-sided p value.

    Args:
        first: Scores of one model.
        second: Scores of the other.
        positive: Whether the row belongs to the positive class.
    """
    truth = np.asarray(positive, dtype=bool)
    area_1, ill_1, well_1 = _placements(np.asarray(first, dtype=np.float64), truth)
    area_2, ill_2, well_2 = _placements(np.asarray(second, dtype=np.float64), truth)
    variance = np.var(ill_1 - ill_2, ddof=1) / len(ill_1) + np.var(well_1 - well_2, ddof=1) / len(well_1)
    difference = area_1 - area_2
    if variance == 0:
        return difference, 1.0 if difference == 0 else 0.0
    return difference, float(2 * norm.sf(abs(difference) / np.sqrt(variance)))


def _placements(scores: Floats, truth: npt.NDArray[np.bool_]) -> tuple[float, Floats, Floats]:
    """The area, and for every positive (negative) row the part of negatives (positives) on the right side of it."""
    n_ill, n_well = int(truth.sum()), int((~truth).sum())
    together = rankdata(scores)
    ill = (together[truth] - rankdata(scores[truth])) / n_well
    well = 1 - (together[~truth] - rankdata(scores[~truth])) / n_ill
    return float(ill.mean()), ill, well


def _clustered(
    area: float, ill: Floats, well: Floats, truth: npt.NDArray[np.bool_], patients: npt.NDArray[np.str_]
) -> float:
    """Obuchowski's variance; DeLong's when every patient has one row."""
    names, owner = np.unique(patients, return_inverse=True)
    n, n_ill, n_well = len(names), len(ill), len(well)
    sums_ill = np.bincount(owner[truth], weights=ill - area, minlength=n)
    sums_well = np.bincount(owner[~truth], weights=well - area, minlength=n)
    with_ill, with_well = len(np.unique(owner[truth])), len(np.unique(owner[~truth]))
    s_ill = _scaled(with_ill) * float((sums_ill**2).sum()) / n_ill
    s_well = _scaled(with_well) * float((sums_well**2).sum()) / n_well
    s_both = _scaled(n) * float((sums_ill * sums_well).sum())
    return s_ill / n_ill + s_well / n_well + 2 * s_both / (n_ill * n_well)


def _scaled(n: int) -> float:
    return n / (n - 1) if n > 1 else float("nan")


def _edge(area: float, truth: npt.NDArray[np.bool_], level: float) -> Area:
    """Perfect (or perfectly wrong) separation has no variance: the rule of three for the smaller class."""
    smaller = min(int(truth.sum()), int((~truth).sum()))
    reach = 1 - ((1 - level) / 2) ** (1 / smaller)
    low, high = (1 - reach, 1.0) if area >= 0.5 else (0.0, reach)
    return Area(area, 0.0, low, high)
