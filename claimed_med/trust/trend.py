"""Values by group and period, and whether they rise or fall; on pandas, or on Spark with the same result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from claimed_med import spark
from claimed_med.errors import InputError

WHERE = "measure-trends"
_LENGTH = {"year": 4, "month": 7, "day": 10}
_DIGITS = 12  # significant: sums over partitions differ in the last bits
STATISTICS = ("n", "mean", "sd", "low", "high")


@dataclass(frozen=True)
class Question:
    """What is asked of a table.

    Attributes:
        time: Column with the times.
        groups: Columns that make the groups.
        measured: Columns with numbers; none for counts only.
        counted: Column whose different values are counted; '' for rows.
        period: year, month or day.
    """

    time: str
    groups: tuple[str, ...]
    measured: tuple[str, ...]
    counted: str
    period: str

    @property
    def columns(self) -> list[str]:
        """All columns that are used."""
        named = [self.time, *self.groups, *self.measured, *([self.counted] if self.counted else [])]
        return list(dict.fromkeys(named))


def by_period(table: pd.DataFrame, asked: Question, *, engine: str) -> pd.DataFrame:
    """One row a group, period and value: group columns, period, value, n, mean, sd, low, high; sorted.

    Args:
        table: One row a measurement.
        asked: What is asked.
        engine: local or spark.

    Raises:
        InputError: A column is not there or holds no numbers, or no row has a time.
    """
    rows = _prepared(table, asked)
    if engine == "spark":
        found = _by_spark(rows, asked)
    else:
        found = pd.concat([_one(rows, asked, value) for value in asked.measured or ("",)], ignore_index=True)
    found[list(STATISTICS[1:])] = found[list(STATISTICS[1:])].astype(float).map(_rounded)
    found["n"] = found["n"].astype("int64")
    keys = [*asked.groups, "period", "value"]
    found[keys] = found[keys].astype("object")
    return found[[*keys, *STATISTICS]].sort_values(keys, ignore_index=True)


def summarise(rows: pd.DataFrame, asked: Question) -> dict[str, Any]:
    """For each group and value: Theil and Sen's slope per period, Kendall's p, first and last period.

    Args:
        rows: Of `by_period`.
        asked: What was asked.
    """
    keys = [*asked.groups, "value"]
    trends = []
    for key, part in rows.groupby(keys, sort=True, dropna=False):
        name = dict(zip(keys, (str(one) for one in key), strict=True))
        trends.append({"group": name, **_trend(part, asked.period)})
    return {"kind": "trends", "period": asked.period, "trends": trends}


def _prepared(table: pd.DataFrame, asked: Question) -> pd.DataFrame:
    absent = sorted(set(asked.columns) - set(table.columns))
    if absent:
        raise InputError(WHERE, "the table has no such column", got=", ".join(absent), allowed=", ".join(table.columns))
    words = [name for name in asked.measured if not pd.api.types.is_numeric_dtype(table[name])]
    if words:
        raise InputError(WHERE, "a column holds no numbers", got=", ".join(words), do="choose other --value-columns")
    rows = table[asked.columns].copy()
    length = _LENGTH[asked.period]
    texts = rows[asked.time].astype("string").fillna("")
    rows["period"] = texts.str.slice(0, length)
    rows = rows[texts.str.len() >= length]
    if rows.empty:
        raise InputError(WHERE, f"no row has a time of at least a {asked.period}", do="set --time-column or --period")
    for name in asked.groups:
        rows[name] = rows[name].astype("string").fillna("unknown").replace("", "unknown")
    if asked.counted:
        rows[asked.counted] = rows[asked.counted].astype("string")
    return rows


def _one(rows: pd.DataFrame, asked: Question, value: str) -> pd.DataFrame:
    kept = rows[rows[value].notna()] if value else rows
    grouped = kept.groupby([*asked.groups, "period"], sort=False)
    made = pd.DataFrame({"n": grouped[asked.counted].nunique() if asked.counted else grouped.size()})
    if value:
        numbers = grouped[value]
        made["mean"], made["sd"] = numbers.mean(), numbers.std(ddof=1)
        made["low"], made["high"] = numbers.min(), numbers.max()
    else:
        made[list(STATISTICS[1:])] = float("nan")
    return made.reset_index().assign(value=value)


def _by_spark(rows: pd.DataFrame, asked: Question) -> pd.DataFrame:
    with spark.session(f"claimed-med {WHERE}") as session:
        from pyspark.sql import functions as f

        named = dict.fromkeys(("period", *asked.groups, *([asked.counted] if asked.counted else [])), "str")
        wanted = [name for name in rows.columns if name in named or name in asked.measured]
        frame = session.createDataFrame(rows[wanted].astype(named | dict.fromkeys(asked.measured, "float64")))
        parts = []
        for value in asked.measured or ("",):
            kept = frame.where(~f.isnan(value) & f.col(value).isNotNull()) if value else frame
            n = f.countDistinct(asked.counted) if asked.counted else f.count(f.lit(1))
            nothing = f.lit(float("nan"))
            made = kept.groupBy(*asked.groups, "period").agg(
                n.alias("n"),
                (f.mean(value) if value else nothing).alias("mean"),
                (f.stddev_samp(value) if value else nothing).alias("sd"),
                (f.min(value) if value else nothing).alias("low"),
                (f.max(value) if value else nothing).alias("high"),
            )
            parts.append(made.toPandas().assign(value=value))
    return pd.concat(parts, ignore_index=True)


def _rounded(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")


def _trend(part: pd.DataFrame, period: str) -> dict[str, Any]:
    from scipy import stats

    order = part.sort_values("period")
    y = (order["n"] if order["mean"].isna().all() else order["mean"]).to_numpy(float)
    x = [_position(text, period) for text in order["period"]]
    told: dict[str, Any] = {
        "n_periods": len(order),
        "first": str(order["period"].iloc[0]),
        "last": str(order["period"].iloc[-1]),
    }
    if len(order) < 3:
        return told
    slope = stats.theilslopes(y, x)
    p = stats.kendalltau(x, y).pvalue
    limits = {"slope_low": slope.low_slope, "slope_high": slope.high_slope}
    numbers = {"slope": slope.slope, **limits, "p_value": p}
    return told | {name: _rounded(float(one)) for name, one in numbers.items() if one == one}  # noqa: PLR0124 - not NaN


def _position(text: str, period: str) -> float:
    """A period as a number: years, months or days."""
    year, month, day = (int(part) for part in (*text.split("-"), "1", "1")[:3])
    if period == "year":
        return year
    return year * 12 + month if period == "month" else pd.Timestamp(year, month, day).toordinal()
