"""How well scores tell two classes apart: for one sample, and for all bootstrap samples at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from claimed_med.trust import calibration, delong
from claimed_med.trust.bootstrap import interval, patient_weights
from claimed_med.trust.metric import TOO_FEW, Metric

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """Scores with their truth.

    Attributes:
        scores: One a row, probability of the positive class.
        positive: Whether the row belongs to the positive class.
        called: Whether the model calls it positive.
        patients: The patient of every row.
    """

    scores: Floats
    positive: npt.NDArray[np.bool_]
    called: npt.NDArray[np.bool_]
    patients: npt.NDArray[np.str_]

    def of(self, rows: npt.NDArray[np.bool_]) -> Scored:
        """Some of the rows."""
        return Scored(self.scores[rows], self.positive[rows], self.called[rows], self.patients[rows])

    def __len__(self) -> int:
        return len(self.scores)


def auc(scored: Scored, weights: Floats) -> Floats:
    """Area under the ROC curve; ties count half.

    Args:
        scored: n rows.
        weights: Shape (samples, n): how often each row counts.

    Returns:
        One value a sample; NaN where a class is missing.
    """
    order = np.argsort(scored.scores, kind="stable")
    ranked, sorted_weights = scored.scores[order], weights[:, order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    ill = np.add.reduceat(sorted_weights * scored.positive[order], starts, axis=1)
    well = np.add.reduceat(sorted_weights * ~scored.positive[order], starts, axis=1)
    below = np.cumsum(well, axis=1) - well
    return _ratio((ill * (below + well / 2)).sum(axis=1), ill.sum(axis=1) * well.sum(axis=1))


def average_precision(scored: Scored, weights: Floats) -> Floats:
    """Average precision: the mean precision over the positives, in the order of falling scores."""
    order = np.argsort(-scored.scores, kind="stable")
    ranked, sorted_weights = scored.scores[order], weights[:, order]
    ends = np.flatnonzero(np.concatenate([ranked[1:] != ranked[:-1], [True]]))
    true = np.cumsum(sorted_weights * scored.positive[order], axis=1)[:, ends]
    every = np.cumsum(sorted_weights, axis=1)[:, ends]
    gained = np.diff(np.concatenate([np.zeros((len(weights), 1)), true], axis=1), axis=1)
    precision = np.divide(true, every, out=np.zeros_like(true), where=every > 0)
    return _ratio((gained * precision).sum(axis=1), true[:, -1])


def rates(scored: Scored, weights: Floats) -> dict[str, Floats]:
    """What follows from the confusion matrix at the operating point; one value a sample and name."""
    true_positive = weights @ (scored.positive & scored.called)
    false_negative = weights @ (scored.positive & ~scored.called)
    false_positive = weights @ (~scored.positive & scored.called)
    true_negative = weights @ (~scored.positive & ~scored.called)
    sensitivity = _ratio(true_positive, true_positive + false_negative)
    specificity = _ratio(true_negative, true_negative + false_positive)
    return {
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": _ratio(true_positive, true_positive + false_positive),
        "npv": _ratio(true_negative, true_negative + false_negative),
        "accuracy": _ratio(true_positive + true_negative, weights.sum(axis=1)),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "f1": _ratio(2 * true_positive, 2 * true_positive + false_positive + false_negative),
        "prevalence": _ratio(true_positive + false_negative, weights.sum(axis=1)),
    }


def measure(
    scored: Scored, group: str, *, n_bootstrap: int, seed: int, n_bins: int = 10, min_group: int = 1
) -> list[Metric]:
    """Every figure of one group, with patient bootstrap intervals (DeLong's for `auc_delong`).

    Args:
        scored: The rows of the group.
        group: Its name.
        n_bootstrap: Bootstrap samples.
        seed: Of the bootstrap.
        n_bins: Of the calibration error.
        min_group: Fewest rows, and one of each class, below which nothing is computed.
    """
    n_positive = int(scored.positive.sum())
    if len(scored) < min_group or n_positive == 0 or n_positive == len(scored):
        return [Metric(name, None, group, n=len(scored), note=TOO_FEW) for name in _FIGURES]
    once = np.ones((1, len(scored)))
    drawn = patient_weights(list(scored.patients), n_bootstrap, seed)
    found = []
    for name, function in _figures(n_bins).items():
        values = function(scored, np.concatenate([once, drawn]))
        low, high = interval(values[1:])
        found.append(Metric(name, float(values[0]), group, low, high, len(scored)))
    told = delong.auc_interval(scored.scores, scored.positive, scored.patients)
    found.append(Metric("auc_delong", told.auc, group, told.low, told.high, len(scored)))
    return found


def roc(scored: Scored) -> dict[str, list[float]]:
    """The ROC curve: false and true positive rates, from (0, 0) to (1, 1)."""
    order = np.argsort(-scored.scores, kind="stable")
    ends = np.flatnonzero(np.concatenate([np.diff(scored.scores[order]) != 0, [True]]))
    true = np.cumsum(scored.positive[order])[ends] / max(1, scored.positive.sum())
    false = np.cumsum(~scored.positive[order])[ends] / max(1, (~scored.positive).sum())
    return {"false_positive_rate": [0.0, *map(float, false)], "true_positive_rate": [0.0, *map(float, true)]}


def precision_recall(scored: Scored) -> dict[str, list[float]]:
    """The precision-recall curve, by falling threshold."""
    order = np.argsort(-scored.scores, kind="stable")
    ends = np.flatnonzero(np.concatenate([np.diff(scored.scores[order]) != 0, [True]]))
    true = np.cumsum(scored.positive[order])[ends]
    return {
        "recall": [float(one) for one in true / max(1, scored.positive.sum())],
        "precision": [float(one) for one in true / (ends + 1)],
    }


def confusion(truth: Sequence[str], predicted: Sequence[str], classes: Sequence[str]) -> list[list[int]]:
    """Counts; row = truth, column = prediction, both in the order of `classes`."""
    place = {name: number for number, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    for real, called in zip(truth, predicted, strict=True):
        counts[place[real], place[called]] += 1
    return [[int(one) for one in row] for row in counts]


def _figures(n_bins: int) -> dict[str, Callable[[Scored, Floats], Floats]]:
    def rate(name: str) -> Callable[[Scored, Floats], Floats]:
        return lambda scored, weights: rates(scored, weights)[name]

    return {
        "auc": auc,
        "average_precision": average_precision,
        **{name: rate(name) for name in _RATES},
        "brier": lambda scored, weights: calibration.brier(scored.scores, scored.positive, weights),
        "ece": lambda scored, weights: calibration.ece(scored.scores, scored.positive, weights, n_bins),
    }


_RATES = ("sensitivity", "specificity", "ppv", "npv", "accuracy", "balanced_accuracy", "f1", "prevalence")
_FIGURES = ("auc", "auc_delong", "average_precision", *_RATES, "brier", "ece")


def _ratio(above: Floats, below: Floats) -> Floats:
    out = np.full(np.shape(above), np.nan)
    np.divide(above, below, out=out, where=np.asarray(below) > 0)
    return out
