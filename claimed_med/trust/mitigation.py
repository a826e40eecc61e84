"""Training that is kept from treating groups differently: five methods, each deterministic by its seed.

What each may know: every method sees the protected attribute of the training rows. `threshold_optimizer` also needs
it of the rows that are judged later; the others never look at it there (`AT_PREDICTION`). What the feature columns
tell about the attribute is the caller's choice: leave out the column itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from fairlearn.postprocessing import ThresholdOptimizer
from fairlearn.reductions import EqualizedOdds, ExponentiatedGradient
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from claimed_med.errors import InputError
from claimed_med.trust import adversarial
from claimed_med.trust.fairness import Array, Mask

AT_PREDICTION = frozenset({"threshold_optimizer"})
_N_BOOSTED = 4


@dataclass(frozen=True)
class Rows:
    """Rows as a method sees them.

    Attributes:
        features: Shape (n_rows, n_features), standardised or 0/1.
        truth: Whether the favourable outcome is true.
        privileged: Whether the row belongs to the privileged group.
    """

    features: Array
    truth: Mask
    privileged: Mask

    def __len__(self) -> int:
        return len(self.truth)


def reweighing(truth: Mask, privileged: Mask, strength: float = 1.0) -> Array:
    """Weights under which outcome and group are independent: P(group) P(outcome) / P(group and outcome).

    Args:
        truth: Outcome of every row.
        privileged: Group of every row.
        strength: Exponent of the weights: 0 none, 1 independence, more to make up for models that are regularised
            and so follow the weights only in part.

    Returns:
        One weight a row.

    Raises:
        InputError: A group without one of the outcomes.

    Source:
        Kamiran and Calders 2012, doi:10.1007/s10115-011-0463-8.
    """
    weights = np.ones(len(truth))
    for outcome in (False, True):
        for group in (False, True):
            both = (truth == outcome) & (privileged == group)
            if not both.any():
                raise InputError("reweighing", "a group lacks an outcome", do="take more rows, or larger groups")
            expected = np.mean(truth == outcome) * np.mean(privileged == group)
            weights[both] = (expected / both.mean()) ** strength
    return weights


def predict(method: str, train: Rows, test: Rows, seed: int) -> Mask:
    """Train with a method and decide on other rows; their truth is never looked at.

    Args:
        method: One of `METHODS`.
        train: Rows with truth and groups.
        test: Rows whose features are looked at (and whose group, by the methods in `AT_PREDICTION`).
        seed: Of everything random.

    Returns:
        Whether the favourable outcome is said, one a row of `test`.

    Raises:
        InputError: A group of the training rows lacks an outcome.
    """
    return np.asarray(METHODS[method](train, test, seed), dtype=bool)


def plain(train: Rows, test: Rows, seed: int) -> npt.NDArray[Any]:
    """Logistic regression that knows of no fairness: what the others are compared with."""
    return np.asarray(_logistic(seed).fit(train.features, train.truth).predict(test.features))


def _logistic(seed: int, inverse_penalty: float = 1.0) -> LogisticRegression:
    return LogisticRegression(C=inverse_penalty, max_iter=1000, random_state=seed)


def _reweighed(train: Rows, test: Rows, seed: int) -> npt.NDArray[Any]:
    weights = reweighing(train.truth, train.privileged)
    model = _logistic(seed).fit(train.features, train.truth, sample_weight=weights)
    return np.asarray(model.predict(test.features))


def _exponentiated(train: Rows, test: Rows, seed: int) -> npt.NDArray[Any]:
    """Agarwal et al. 2018, arXiv:1803.02453, equalised odds; the mixture of classifiers is drawn by the seed."""
    model = ExponentiatedGradient(_logistic(seed), EqualizedOdds(difference_bound=0.02), eps=0.02)
    model.fit(train.features, train.truth.astype(int), sensitive_features=train.privileged)
    return np.asarray(model.predict(test.features, random_state=seed))


def _thresholds(train: Rows, test: Rows, seed: int) -> npt.NDArray[Any]:
    """Hardt et al. 2016, arXiv:1610.02413: a threshold for each group, so the group must be known."""
    model = ThresholdOptimizer(
        estimator=_logistic(seed), constraints="equalized_odds", predict_method="predict_proba", grid_size=200
    )
    model.fit(train.features, train.truth.astype(int), sensitive_features=train.privileged)
    return np.asarray(model.predict(test.features, sensitive_features=test.privileged, random_state=seed))


def _adversarial(train: Rows, test: Rows, seed: int) -> npt.NDArray[Any]:
    model = adversarial.fit(train.features, train.truth, train.privileged, adversarial.Settings(seed=seed))
    return model.probability(test.features) > 0.5


def _ensemble(train: Rows, test: Rows, seed: int) -> npt.NDArray[Any]:
    """Reweighed logistic regression, forest and boosted trees: the mean of three probabilities against one threshold.

    Averaging makes the decision less dependent on the luck of the training rows, which is a large part of what is
    measured as bias; the threshold a little below half refuses fewer good credits. Strength and threshold were chosen
    once, on splits of their own (docstring of `claimed_med.trust.credit_benchmark`). One threshold for everybody.
    """
    weights = reweighing(train.truth, train.privileged, strength=1.5)
    boosted = [
        GradientBoostingClassifier(
            n_estimators=120, learning_rate=0.05, max_depth=3, subsample=0.5, max_features=0.3, random_state=seed + i
        )
        for i in range(_N_BOOSTED)
    ]
    forest = RandomForestClassifier(150, min_samples_leaf=2, max_features=0.3, random_state=seed)
    members = [[_logistic(seed, 0.1)], [forest], boosted]
    scores = [np.mean([_probability(one, train, test, weights) for one in kind], axis=0) for kind in members]
    return np.asarray(np.mean(scores, axis=0) > 0.48)


def _probability(model: Any, train: Rows, test: Rows, weights: Array) -> Array:
    fitted = model.fit(train.features, train.truth, sample_weight=weights)
    return np.asarray(fitted.predict_proba(test.features)[:, 1])


METHODS: Mapping[str, Callable[[Rows, Rows, int], npt.NDArray[Any]]] = {
    "reweighed_ensemble": _ensemble,
    "reweighing": _reweighed,
    "adversarial_debiasing": _adversarial,
    "exponentiated_gradient": _exponentiated,
    "threshold_optimizer": _thresholds,
}
