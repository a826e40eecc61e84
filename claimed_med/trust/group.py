"""Groups of rows by attribute, and their intersections."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from claimed_med.errors import InputError

Mask = npt.NDArray[np.bool_]
Families = Mapping[str, Mapping[str, Mask]]


def families(
    table: pd.DataFrame, attributes: Sequence[str], *, intersections: bool = False
) -> dict[str, dict[str, Mask]]:
    """The groups of every attribute; missing values are the group `unknown`.

    Args:
        table: One row an image.
        attributes: Columns of it.
        intersections: Add the groups of every two attributes (`sex=F & view=PA`).

    Returns:
        Attribute -> group -> rows.

    Raises:
        InputError: No attribute, or one that is no column.
    """
    absent = [name for name in attributes if name not in table.columns]
    if absent or not attributes:
        raise InputError("fairness", "needs attributes that the cohort has", got=", ".join(absent) or "none")
    found: dict[str, dict[str, Mask]] = {}
    for name in dict.fromkeys(attributes):
        column = table[name].astype(object).where(table[name].notna(), "unknown").astype(str)
        found[name] = {f"{name}={one}": np.asarray(column == one) for one in sorted(set(column))}
    if intersections:
        for first, second in itertools.combinations(dict.fromkeys(attributes), 2):
            pairs = itertools.product(found[first].items(), found[second].items())
            crossed = {f"{a} & {b}": rows & others for (a, rows), (b, others) in pairs}
            found[f"{first} & {second}"] = {label: rows for label, rows in crossed.items() if rows.any()}
    return found
