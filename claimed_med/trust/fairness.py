"""Group fairness: AIF360's five metrics with fair ranges, and what medicine asks of subgroups, from weights.

Every statistic is a ratio of weighted sums over rows. Bootstrap weights of shape (n_samples, n_rows) therefore give
the statistic of all samples by a few matrix products, and a row of ones gives the point estimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

FAIR_RANGES: Mapping[str, tuple[float, float]] = {
    "statistical_parity_difference": (-0.1, 0.1),
    "disparate_impact": (0.8, 1.25),
    "equal_opportunity_difference": (-0.1, 0.1),
    "average_odds_difference": (-0.1, 0.1),
    "theil_index": (0.0, 0.25),
}
_ROUNDING = 1e-9
_N_BINS = 10


@dataclass(frozen=True)
class Outcome:
    """What was true and what was said, one entry a row.

    Attributes:
        truth: Whether the row is of the positive (in AIF360's words: favourable) class.
        predicted: Whether the positive class was said.
        score: Probability of the positive class, or None when only decisions are known.
    """

    truth: Mask
    predicted: Mask
    score: Array | None = None


def is_fair(name: str, value: float) -> bool:
    """Whether a metric lies in its fair range; what is not a number (as 0/0) is not fair.

    Args:
        name: One of `FAIR_RANGES`.
        value: The metric.
    """
    low, high = FAIR_RANGES[name]
    return bool(low - _ROUNDING <= value <= high + _ROUNDING)


def ones(n_rows: int) -> Array:
    """The weights of the point estimate, shape (1, n_rows)."""
    return np.ones((1, n_rows))


def _ratio(above: Array, below: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(above / below, dtype=np.float64)


def _share(weights: Array, of: Mask, among: Mask) -> Array:
    """Weighted share of `of` among `among`, one a sample; NaN where nobody is among them."""
    return _ratio(weights @ (of & among).astype(float), weights @ among.astype(float))


def bias(outcome: Outcome, unprivileged: Mask, privileged: Mask, weights: Array | None = None) -> dict[str, Array]:
    """AIF360's five metrics of a pair of groups.

    Args:
        outcome: Truth and decisions.
        unprivileged: Rows of the group under watch.
        privileged: Rows of the reference. The Theil index is that of both groups together.
        weights: Shape (n_samples, n_rows); a row of ones when None.

    Returns:
        Name -> one value a sample; NaN where a rate has no rows.

    Source:
        Bellamy et al. 2018, arXiv:1810.01943 (AIF360, ClassificationMetric); Speicher et al. 2018,
        doi:10.1145/3219819.3220046 (Theil index of benefits 1 + decision - truth).
    """
    truth, said = outcome.truth, outcome.predicted
    weights = ones(len(truth)) if weights is None else weights
    selected = [_share(weights, said, group) for group in (unprivileged, privileged)]
    hits = [_share(weights, said, group & truth) for group in (unprivileged, privileged)]
    alarms = [_share(weights, said, group & ~truth) for group in (unprivileged, privileged)]
    return {
        "statistical_parity_difference": selected[0] - selected[1],
        "disparate_impact": _ratio(selected[0], selected[1]),
        "equal_opportunity_difference": hits[0] - hits[1],
        "average_odds_difference": (alarms[0] - alarms[1] + hits[0] - hits[1]) / 2,
        "theil_index": theil(outcome, unprivileged | privileged, weights),
    }


def theil(outcome: Outcome, among: Mask, weights: Array) -> Array:
    """Theil index of the benefits 1 + decision - truth, one a sample."""
    benefit = np.where(among, 1.0 + outcome.predicted - outcome.truth, 0.0)
    total = weights @ among.astype(float)
    mean = _ratio(weights @ benefit, total)
    logs = np.log(np.where(benefit > 0, benefit, 1.0))
    # mean of (b/m) ln(b/m) = (mean of b ln b)/m - ln m
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(_ratio(weights @ (benefit * logs), total) / mean - np.log(mean))


def performance(outcome: Outcome, among: Mask, weights: Array | None = None) -> dict[str, Array]:
    """What a group gets: selection rate, false negative and false positive rate, and with scores AUC and ECE.

    Args:
        outcome: Truth, decisions and, for AUC and calibration error, scores.
        among: Rows of the group.
        weights: Shape (n_samples, n_rows); a row of ones when None.

    Returns:
        Name -> one value a sample.
    """
    weights = ones(len(among)) if weights is None else weights
    truth, said = outcome.truth, outcome.predicted
    found = {
        "selection_rate": _share(weights, said, among),
        "false_negative_rate": _share(weights, ~said, among & truth),
        "false_positive_rate": _share(weights, said, among & ~truth),
    }
    if outcome.score is not None:
        found["auc"] = auc(outcome.score, truth, among, weights)
        found["calibration_error"] = calibration_error(outcome.score, truth, among, weights)
    return found


def auc(score: Array, truth: Mask, among: Mask, weights: Array) -> Array:
    """Area under the ROC curve with ties counted half, one a sample; NaN where a class is missing."""
    rows = np.flatnonzero(among)
    if not len(rows):
        return np.full(len(weights), np.nan)
    rows = rows[np.argsort(score[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(score[rows], prepend=-np.inf))
    positive = np.add.reduceat(weights[:, rows] * truth[rows], starts, axis=1)
    negative = np.add.reduceat(weights[:, rows] * ~truth[rows], starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative
    return _ratio((positive * (below + negative / 2)).sum(axis=1), positive.sum(axis=1) * negative.sum(axis=1))


def calibration_error(score: Array, truth: Mask, among: Mask, weights: Array, n_bins: int = _N_BINS) -> Array:
    """Expected calibration error over bins of equal width, one a sample.

    Source:
        Naeini et al. 2015, AAAI (ECE).
    """
    binned = np.minimum((np.clip(score, 0, 1) * n_bins).astype(int), n_bins - 1)
    members = np.eye(n_bins)[binned] * among[:, None]
    gap = np.abs(weights @ (members * (score - truth)[:, None])).sum(axis=1)
    return _ratio(gap, weights @ among.astype(float))
