"""Split a cohort by patient (or by site): nobody is in two parts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from claimed_med.errors import InputError

PARTS = ("train", "validation", "test")


def assign(
    cohort: pd.DataFrame, fractions: Mapping[str, float], *, stratify: Sequence[str], together: str, seed: int
) -> pd.Series:
    """The part of every row.

    Patients (or sites) are dealt out whole. Those of one stratum (the same pattern of values in the stratified
    columns) are shuffled and dealt to the part that is furthest behind, in that stratum and over all: so every part
    gets its share of each large stratum, and small strata even each other out.

    Args:
        cohort: With the columns of `stratify`, `together` and `sop_uid`.
        fractions: Part -> share of the rows.
        stratify: Columns whose values every part should have alike.
        together: Column whose rows stay together: `patient_key`, or `site`.
        seed: Of the shuffle.

    Returns:
        One name of a part a row.
    """
    wanted = pd.Series(dict(fractions)) / sum(fractions.values())
    groups = cohort.groupby(together, sort=False)
    # the order must not depend on the secret behind the patient keys
    anchors = groups["sop_uid"].min()
    patterns = groups[list(stratify)].agg(lambda values: "|".join(sorted(map(str, set(values))))) if stratify else None
    strata = patterns.agg(" & ".join, axis=1) if patterns is not None else pd.Series("", index=anchors.index)
    sizes = groups.size()
    shuffled = sorted(anchors.index, key=lambda name: hashlib.sha256(f"{seed}/{anchors[name]}".encode()).hexdigest())
    part_of: dict[str, str] = {}
    overall = pd.Series(0.0, index=wanted.index)
    for stratum in sorted(set(strata), key=lambda one: (-int((strata == one).sum()), one)):
        here = pd.Series(0.0, index=wanted.index)
        for name in (one for one in shuffled if strata[one] == stratum):
            size = float(sizes[name])
            behind = wanted * (here.sum() + size) - here
            owed = wanted * (overall.sum() + size) - overall
            chosen = max(wanted.index, key=lambda part: round(float(behind[part] + owed[part]), 9))
            part_of[name] = str(chosen)
            here[chosen] += size
            overall[chosen] += size
    return cohort[together].map(part_of)


def overlap(cohort: pd.DataFrame, column: str) -> list[str]:
    """Values of a column that are in more than one part: there must be none."""
    parts = cohort[cohort["split"] != ""].groupby(column)["split"].nunique()
    return [str(one) for one in parts.index[parts > 1]]


def require_classes(cohort: pd.DataFrame, parts: Sequence[str], where: str) -> None:
    """Refuse a split in which a part lacks a class.

    Raises:
        InputError: With the counts.
    """
    counts = cohort.pivot_table(index="split", columns="label", values="sop_uid", aggfunc="count", fill_value=0)
    counts = counts.reindex(index=list(parts), fill_value=0)
    if counts.shape[1] < 2:
        raise InputError(
            where, "the cohort has one class only", got=", ".join(map(str, counts.columns)), allowed="two or more",
            do="check the label column",
        )  # fmt: skip
    if (np.asarray(counts) == 0).any():
        told = "; ".join(f"{part}: {dict(row.astype(int))}" for part, row in counts.iterrows())
        raise InputError(
            where, "a part has no image of some class", got=told, do="take more patients, other fractions or seed"
        )
