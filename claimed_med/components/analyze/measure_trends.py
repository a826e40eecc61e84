"""Measure how values of a table change over time."""

from __future__ import annotations

from typing import Literal, NamedTuple

from claimed_med.component import component
from claimed_med.handles import Report, Table


class MeasureTrendsOutputs(NamedTuple):
    """What measure_trends returns."""

    trends: Table
    summary: Report


@component(
    version="1.0.0",
    tags=("time series", "trend", "dose", "volume", "spark"),
    example={"table": "catalog-archive:catalog", "value_columns": ["slice_thickness_mm"]},
)
def measure_trends(
    table: Table,
    *,
    time_column: str = "study_time",
    group_columns: list[str] = ["site", "scanner"],  # noqa: B006 - never changed
    value_columns: list[str] = [],  # noqa: B006 - never changed
    count_column: str = "",
    period: Literal["year", "month", "day"] = "month",
    engine: Literal["local", "spark"] = "local",
) -> MeasureTrendsOutputs:
    """Measure how values of a table change over time.

    Counts, and mean, deviation and extremes of every value, by group and period: volumes, scores, doses, exams by site
    and scanner. The trend of the means is Theil and Sen's slope with Kendall's test, which outliers do not move. Both
    engines give the same table.

    Args:
        table: One row a measurement; times as `2024`, `2024-03` or `2024-03-17`.
        time_column: Column with the times; rows without one are counted and left out.
        group_columns: Columns that make the groups; none for one group.
        value_columns: Columns with numbers; none for counts only.
        count_column: Count different values of this column (`study_uid`) in place of rows.
        period: Length of a period.
        engine: `local`, or `spark` for the cluster that SPARK_MASTER names (without: this machine).

    Returns:
        trends: One row a group, period and value: n, mean, sd, low, high.
        summary: For each group and value: slope per period, its p value, first and last period.

    Raises:
        InputError: A column is not there or holds no numbers, or no row has a time.
        MissingDependencyError: Spark is asked for and not installed.

    Source:
        Sen 1968, doi:10.1080/01621459.1968.10480934; Kendall 1938, doi:10.1093/biomet/30.1-2.81.
    """
    from claimed_med.trust import trend

    asked = trend.Question(time_column, tuple(group_columns), tuple(value_columns), count_column, period)
    rows = trend.by_period(table.load(), asked, engine=engine)
    return MeasureTrendsOutputs(Table(rows), Report(trend.summarise(rows, asked)))
