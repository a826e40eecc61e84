"""Whether a model looks at what it should: attributes that its score betrays, and pixels where nothing can be seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from claimed_med.trust.ablation import Floats, Probabilities
from claimed_med.trust.bootstrap import interval, patient_weights
from claimed_med.trust.metric import TOO_FEW, Metric
from claimed_med.trust.performance import Scored, auc


def outside(found: Floats, inside: npt.NDArray[np.bool_]) -> float:
    """The part of a map's positive mass that lies outside a mask.

    Args:
        found: Shape (*spatial).
        inside: Shape (*spatial).
    """
    positive = np.clip(found, 0, None)
    return float(positive[~inside].sum() / max(float(positive.sum()), 1e-12))


def without(image: Floats, inside: npt.NDArray[np.bool_]) -> Floats:
    """The image with what is inside a mask smoothed away: filled from its border, so that no form is left.

    Args:
        image: Shape (channel, *spatial).
        inside: Shape (*spatial).
    """
    made = image.copy()
    weights = (~inside).astype(np.float64)
    widths = [length / 6 for length in inside.shape]
    norm = np.maximum(ndimage.gaussian_filter(weights, widths), 1e-6)
    for channel in made:
        filled = ndimage.gaussian_filter(channel * weights, widths) / norm
        channel[inside] = filled[inside]
    return made


def auc_without(
    probabilities: Probabilities,
    images: Sequence[Floats],
    masks: Sequence[npt.NDArray[np.bool_]],
    scored: Scored,
    column: int,
    *,
    group: str,
    n_bootstrap: int,
    seed: int,
    progress: Callable[[], None] = lambda: None,
) -> Metric:
    """The AUC that is left when the place of the disease is smoothed away: what the model knows from elsewhere.

    Args:
        probabilities: (n, channel, *spatial) -> (n, class).
        images: Prepared, one a row of `scored`.
        masks: Where the disease can be, one an image.
        scored: For truth and patients.
        column: Column of the positive class.
        group: Name of the place.
        n_bootstrap: Bootstrap samples.
        seed: Of the bootstrap.
        progress: Called after each image.

    Returns:
        The metric `auc_without`.
    """
    scores = np.empty(len(images))
    for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
        scores[number] = probabilities(without(image, mask)[None])[0, column]
        progress()
    left = Scored(scores, scored.positive, scored.called, scored.patients)
    weights = np.concatenate([np.ones((1, len(left))), patient_weights(list(left.patients), n_bootstrap, seed)])
    values = auc(left, weights)
    low, high = interval(values[1:])
    return Metric("auc_without", float(values[0]), group, low, high, len(left))


def attribute_metrics(
    scored: Scored, values: Sequence[str], name: str, *, n_bootstrap: int, seed: int, min_group: int = 10
) -> list[Metric]:
    """What an attribute (view, scanner, marker) has to do with the label and with the score.

    `label_from_attribute_auc`: how well the attribute alone predicts the label: what a shortcut could gain.
    `output_from_attribute_auc`: how well it alone predicts whether the model calls an image positive.
    `attribute_from_score_auc`: how well the score betrays the attribute among images of the same label; 0.5 for a
    model that looks at the disease only. For more than two values each is held against the rest and the worst counts.

    Args:
        scored: Scores with truth.
        values: The attribute of every row.
        name: Of the attribute.
        n_bootstrap: Bootstrap samples.
        seed: Of the bootstrap.
        min_group: Fewest rows of a value.
    """
    given = np.asarray(values, dtype=str)
    names, counts = np.unique(given, return_counts=True)
    large = [str(one) for one, n in zip(names, counts, strict=True) if n >= min_group and one != "unknown"]
    if len(large) < 2:
        return [Metric(metric, None, name, n=len(given), note=TOO_FEW) for metric in _NAMES]
    weights = np.concatenate([np.ones((1, len(given))), patient_weights(list(scored.patients), n_bootstrap, seed)])
    compared = large[:1] if len(large) == 2 else large
    found = []
    for metric, function in _FUNCTIONS.items():
        by_value = [_folded(function(scored, given == one, weights)) for one in compared]
        worst = max(by_value, key=lambda told: told[0])
        low, high = interval(worst[1:])
        found.append(Metric(metric, float(worst[0]), name, low, high, len(given)))
    return found


def _folded(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Turn round areas whose first value is below one half; the interval keeps its direction."""
    return np.asarray(1 - values if values[0] < 0.5 else values)


def _label(scored: Scored, member: npt.NDArray[np.bool_], weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return auc(Scored(member.astype(float), scored.positive, scored.called, scored.patients), weights)


def _output(scored: Scored, member: npt.NDArray[np.bool_], weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return auc(Scored(member.astype(float), scored.called, scored.called, scored.patients), weights)


def _betrayed(
    scored: Scored, member: npt.NDArray[np.bool_], weights: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Area for the attribute within each label, weighted by the pairs that can be compared."""
    total = np.zeros(len(weights))
    pairs = np.zeros(len(weights))
    for label in (True, False):
        rows = scored.positive == label
        part = Scored(scored.scores[rows], member[rows], scored.called[rows], scored.patients[rows])
        here = weights[:, rows]
        area = auc(part, here)
        count = (here @ member[rows]) * (here @ ~member[rows])
        known = np.isfinite(area)
        total[known] += (area * count)[known]
        pairs[known] += count[known]
    found = np.full(len(weights), np.nan)
    np.divide(total, pairs, out=found, where=pairs > 0)
    return found


_FUNCTIONS = {
    "label_from_attribute_auc": _label,
    "output_from_attribute_auc": _output,
    "attribute_from_score_auc": _betrayed,
}
_NAMES = tuple(_FUNCTIONS)
