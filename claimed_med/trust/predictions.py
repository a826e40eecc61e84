"""Predictions joined with the truth of a cohort: what every metric of a classifier starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from claimed_med.errors import InputError
from claimed_med.trust.performance import Scored

_NEEDED = ("sop_uid", "score", "predicted", "threshold", "positive", "model_digest")


@dataclass(frozen=True)
class Judged:
    """Predictions with their truth.

    Attributes:
        table: One row an image: columns of both tables.
        classes: In the order of the model.
        positive: The class whose probability is the score.
        model_digest: Of the model.
        missing: Rows of either table without partner.
    """

    table: pd.DataFrame
    classes: list[str]
    positive: str
    model_digest: str
    missing: dict[str, int]

    @property
    def scored(self) -> Scored:
        """The positive class against the rest."""
        return self.one_versus_rest(self.positive)

    def one_versus_rest(self, name: str) -> Scored:
        """One class against the rest."""
        scores = self.table["score"] if name == self.positive else self.table[f"probability_{name}"]
        return Scored(
            scores.to_numpy(dtype=np.float64),
            (self.table["label"] == name).to_numpy(),
            (self.table["predicted"] == name).to_numpy(),
            self.table["patient_key"].to_numpy(dtype=str),
        )

    def groups(self, attributes: Sequence[str]) -> dict[str, npt.NDArray[np.bool_]]:
        """`attribute=value` -> which rows belong to it.

        Raises:
            InputError: An attribute that is no column of the cohort.
        """
        absent = sorted(set(attributes) - set(self.table.columns))
        if absent:
            raise InputError("metric", "the cohort has no such column", got=", ".join(absent))
        return {
            f"{name}={value}": (self.table[name].astype(str) == value).to_numpy()
            for name in attributes
            for value in sorted(set(self.table[name].astype(str)))
        }


def judge(predictions: pd.DataFrame, cohort: pd.DataFrame, subset: str, where: str) -> Judged:
    """Join predictions with the truth.

    Args:
        predictions: From classify-images.
        cohort: With label; with split when a subset is asked for.
        subset: Value of `split`, or '' for all rows.
        where: The component that speaks.

    Raises:
        InputError: A column is missing, several models, scores that are NaN, no row, or a label that is no class.
    """
    absent = [name for name in _NEEDED if name not in predictions.columns]
    if absent or "label" not in cohort.columns or (subset and "split" not in cohort.columns):
        raise InputError(where, "a column is missing", got=", ".join(absent) or "label or split", do="see the ports")
    wanted = cohort[cohort["split"] == subset] if subset else cohort
    table = wanted.merge(predictions, on="sop_uid", how="inner", suffixes=("", "_predicted"), validate="one_to_one")
    table = table.sort_values("sop_uid", ignore_index=True)
    if table.empty:
        raise InputError(
            where, "no image of the cohort has a prediction", got=f"split {subset!r}", do="check the split"
        )
    models = sorted(set(table["model_digest"]))
    if len(models) > 1:
        raise InputError(where, "the predictions come from several models", got=len(models), allowed="1")
    bad = int((~np.isfinite(table["score"].to_numpy(dtype=np.float64))).sum())
    if bad:
        raise InputError(where, "scores are NaN or infinite", got=f"{bad} rows", do="predict again")
    classes = [name.removeprefix("probability_") for name in predictions.columns if name.startswith("probability_")]
    table["label"] = table["label"].astype(str)
    foreign = sorted(set(table["label"]) - set(classes))
    if foreign:
        raise InputError(
            where, "labels that are no class of the model", got=", ".join(foreign), allowed=", ".join(classes)
        )
    positive = str(table["positive"].iloc[0])
    if not (table["label"] == positive).any() or (table["label"] == positive).all():
        raise InputError(where, f"class {positive} has all or none of the images", do="check labels and split")
    missing = {
        "images_without_prediction": len(wanted) - len(table),
        "predictions_without_image": int((~predictions["sop_uid"].isin(set(cohort["sop_uid"]))).sum()),
    }
    return Judged(table, classes, positive, models[0], missing)
