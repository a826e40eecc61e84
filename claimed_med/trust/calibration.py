"""Whether probabilities are what they say: Brier score, expected calibration error, reliability curve."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

Floats = npt.NDArray[np.float64]
_CLIP = 1e-6


def brier(scores: Floats, positive: npt.NDArray[np.bool_], weights: Floats) -> Floats:
    """Brier score of every bootstrap sample.

    Args:
        scores: n probabilities.
        positive: n truths.
        weights: Shape (samples, n).
    """
    return np.asarray(weights @ ((scores - positive) ** 2) / weights.sum(axis=1))


def ece(scores: Floats, positive: npt.NDArray[np.bool_], weights: Floats, n_bins: int = 10) -> Floats:
    """Expected calibration error of every bootstrap sample, in bins of equal width.

    Args:
        scores: n probabilities.
        positive: n truths.
        weights: Shape (samples, n).
        n_bins: Number of bins.

    Source:
        Naeini et al. 2015, doi:10.1609/aaai.v29i1.9602.
    """
    member = _members(scores, np.linspace(0, 1, n_bins + 1))
    gaps = weights @ (member * (scores - positive)[:, None])
    return np.asarray(np.abs(gaps).sum(axis=1) / weights.sum(axis=1))


def reliability(scores: Floats, positive: npt.NDArray[np.bool_], n_bins: int = 10) -> list[dict[str, Any]]:
    """The reliability curve in bins of equal size: mean score, part that is positive, rows."""
    edges = np.unique(np.quantile(scores, np.linspace(0, 1, n_bins + 1)))
    if len(edges) < 2:
        edges = np.array([edges[0] - _CLIP, edges[0] + _CLIP])
    member = _members(scores, edges)
    return [
        {"score": float(scores[rows].mean()), "positive": float(positive[rows].mean()), "n": int(rows.sum())}
        for rows in (member[:, one].astype(bool) for one in range(member.shape[1]))
        if rows.any()
    ]


def slope_and_intercept(scores: Floats, positive: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and intercept of the truth's logit over the score's logit; 1 and 0 are perfect.

    Source:
        Cox 1958, doi:10.1093/biomet/45.3-4.562; Van Calster et al. 2019, doi:10.1186/s12916-019-1466-7.
    """
    clipped = np.clip(scores, _CLIP, 1 - _CLIP)
    logit = np.log(clipped / (1 - clipped))

    def loss(told: Floats) -> float:
        line = told[0] * logit + told[1]
        return float(np.logaddexp(0, np.where(positive, -line, line)).mean() + 1e-9 * (told**2).sum())

    found = minimize(loss, np.array([1.0, 0.0]), method="L-BFGS-B").x
    return float(found[0]), float(found[1])


def _members(scores: Floats, edges: Floats) -> Floats:
    """Shape (n, bins): 1 where a row lies in a bin; the last bin holds its upper edge."""
    which = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, len(edges) - 2)
    return np.eye(len(edges) - 1)[which]
