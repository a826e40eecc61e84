"""The score from which an image is called positive: chosen on validation images, never on test images."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from claimed_med.errors import ContractError, InputError

_POLICY = re.compile(r"\s*(sensitivity|specificity)\s*>=\s*(0?\.\d+|0|1|1\.0+)\s*")


def choose(scores: npt.ArrayLike, positive: npt.ArrayLike, policy: str = "youden") -> float:
    """Choose a threshold; an image is called positive when its score is at least the threshold.

    Thresholds lie half-way between neighbouring scores, so that the choice does not hang on one image's last digit.

    Args:
        scores: One an image.
        positive: Whether the image belongs to the positive class.
        policy: `youden` (sensitivity + specificity highest), or `sensitivity>=0.9` (the highest threshold that keeps
            it), or `specificity>=0.9` (the lowest threshold that keeps it).

    Returns:
        The threshold.

    Raises:
        ContractError: Another policy.
        InputError: One class only, or a score that is NaN.

    Source:
        Youden 1950, doi:10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3.
    """
    found, truth = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    if not np.isfinite(found).all():
        raise InputError("operating point", "scores are NaN or infinite", got=int((~np.isfinite(found)).sum()))
    if truth.all() or not truth.any():
        raise InputError("operating point", "one class only", do="give validation images of both classes")
    values = np.unique(found)
    cuts = np.concatenate([[values[0]], (values[1:] + values[:-1]) / 2])
    called = found[None, :] >= cuts[:, None]
    sensitivity = called[:, truth].mean(axis=1)
    specificity = (~called[:, ~truth]).mean(axis=1)
    if policy.strip() == "youden":
        return float(cuts[int(np.argmax(np.round(sensitivity + specificity, 12)))])
    told = _POLICY.fullmatch(policy)
    if not told:
        raise ContractError(
            "operating point", "unknown policy", got=repr(policy), allowed="youden, sensitivity>=X, specificity>=X"
        )
    limit = float(told[2])
    if told[1] == "sensitivity":
        return float(cuts[np.flatnonzero(sensitivity >= limit)[-1]])
    kept = np.flatnonzero(specificity >= limit)
    return float(cuts[kept[0]]) if len(kept) else float(np.nextafter(values[-1], np.inf))
