"""The German credit data: a thousand credits of 1973 to 1975, good or bad, with the sex and age of those who asked.

`german.data` of the UCI repository: twenty attributes coded A11 ... A202, separated by blanks, and 1 = good, 2 = bad.
Its attribute 9 (`personal`) joins sex and marital status; A92 are the women. Read with the names below, groups are as
in AIF360: men, and those older than 25 years, are privileged.

Source:
    Hofmann 1994, UCI Machine Learning Repository, doi:10.24432/C5NC77, CC BY 4.0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from claimed_med.errors import InputError

COLUMNS = (
    "status", "month", "history", "purpose", "amount", "savings", "employment", "rate", "personal", "debtors",
    "residence", "property", "age", "plans", "housing", "credits", "job", "liable", "telephone", "foreign",
)  # fmt: skip
NUMBERS = ("month", "amount", "rate", "residence", "age", "credits", "liable")
ATTRIBUTES = ("sex", "age")
FEMALE = "A92"
OLD_YEARS = 25
_GOOD, _BAD = 1, 2


def read(path: Path) -> pd.DataFrame:
    """The table of a german.data file, in the order of its lines.

    Args:
        path: The file.

    Returns:
        The twenty attributes by name, `sex` (F, M) and `y` (1 = good credit, 0 = bad).

    Raises:
        InputError: Another form: not 21 columns, numbers that are none, or an outcome other than 1 and 2.
    """
    try:
        table = pd.read_csv(path, sep=r"\s+", header=None)
    except (ValueError, OSError):
        raise InputError("german credit", "the file cannot be read", allowed="german.data of UCI") from None
    if table.shape[1] != len(COLUMNS) + 1:
        raise InputError("german credit", "wrong number of columns", got=table.shape[1], allowed="21, without header")
    table.columns = pd.Index([*COLUMNS, "y"])
    odd = [name for name in (*NUMBERS, "y") if not pd.api.types.is_integer_dtype(table[name])]
    if odd or not set(table["y"]) <= {_GOOD, _BAD} or not table["personal"].astype(str).str.match(r"A9[1-5]$").all():
        raise InputError(
            "german credit", "columns are not those of german.data", got=", ".join(odd) or "codes", allowed=""
        )
    table.insert(len(COLUMNS), "sex", np.where(table["personal"] == FEMALE, "F", "M"))
    table["y"] = (table["y"] == _GOOD).astype(np.int64)
    return table


def check(table: pd.DataFrame, where: str) -> pd.DataFrame:
    """Refuse a table that is not from `read`.

    Raises:
        InputError: A column is missing.
    """
    absent = [name for name in (*COLUMNS, "sex", "y") if name not in table.columns]
    if absent:
        raise InputError(
            where, "the table is not German credit", got=f"no {', '.join(absent)}", do="use load-credit-table"
        )
    return table


def privileged(table: pd.DataFrame, attribute: str) -> npt.NDArray[np.bool_]:
    """Who belongs to the privileged group: men for `sex`, older than 25 years for `age`."""
    return np.asarray(table["sex"] == "M") if attribute == "sex" else np.asarray(table["age"] > OLD_YEARS)


def features(table: pd.DataFrame, attribute: str = "") -> pd.DataFrame:
    """What a model may look at.

    Args:
        table: From `read`.
        attribute: The protected attribute that is left out (for sex the whole column `personal`, which holds it), or
            '' to leave out nothing.

    Returns:
        Codes as text, numbers as float, with the logarithms of amount, months and of the monthly instalment.
    """
    found = table[list(COLUMNS)].copy()
    found[list(NUMBERS)] = found[list(NUMBERS)].astype(np.float64)
    found["log_amount"], found["log_month"] = np.log(found["amount"]), np.log(found["month"])
    found["log_instalment"] = found["log_amount"] - found["log_month"]
    left_out = {"": [], "sex": ["personal"], "age": ["age"]}[attribute]
    return found.drop(columns=left_out)
