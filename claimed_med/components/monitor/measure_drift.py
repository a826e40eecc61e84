"""Measure whether the cases of a deployed model have drifted."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from claimed_med.component import Interval, component
from claimed_med.handles import Report, Table


class MeasureDriftOutputs(NamedTuple):
    """What measure_drift returns."""

    drift: Report
    n_drifted: int


@component(
    version="1.0.0",
    tags=("monitoring", "drift", "psi", "ks", "mmd", "calibration", "data quality"),
    example={"reference": "predictions_before", "predictions": "predictions_now", "n_permutations": 999},
)
def measure_drift(
    reference: Table,
    predictions: Table,
    *,
    window: str = "200",
    columns: list[str] = [],  # noqa: B006 - never changed
    alpha: Annotated[float, Interval(1e-6, 0.5)] = 0.01,
    min_effect: Annotated[float, Interval(0, 10)] = 0.1,
    min_rows: Annotated[int, Interval(10, 100_000)] = 30,
    n_permutations: Annotated[int, Interval(199, 100_000)] = 4999,
    n_bootstrap: Annotated[int, Interval(100, 100_000)] = 500,
    seed: Annotated[int, Interval(0, 2**31 - 1)] = 0,
) -> MeasureDriftOutputs:
    """Measure whether the cases of a deployed model have drifted.

    Every window is held against the reference, column by column: Kolmogorov-Smirnov for numbers, a permutation test of
    chi-squared for categories and for missing values, maximum mean discrepancy for embeddings. A column has drifted
    when the difference is significant at a false discovery rate over all columns and large beyond chance (population
    stability index); a patient counts once. Where the truth has arrived, discrimination and calibration of every
    window are held against the reference.

    Args:
        reference: Predictions that the model was validated on; with label where performance is compared.
        predictions: Of the deployed model: score and attributes, embedding_*; where known time, patient_key, label
            (the truth), predicted, positive, and outcome (`done`, or why a case was refused).
        window: A number of cases (`200`), or hours, days or weeks (`24h`, `7d`, `4w`), which need column time.
        columns: Which to test; none for all that both tables have.
        alpha: False discovery rate over the columns of a window.
        min_effect: Least population stability index beyond chance: 0.1 is moderate, 0.25 large.
        min_rows: Fewest patients of a window; below it nothing is said.
        n_permutations: Of categorical columns and of the embedding, at the least; many columns need and get more.
        n_bootstrap: Samples of the intervals of performance.
        seed: Of permutations and bootstrap.

    Returns:
        drift: Every window with its drifted columns, largest change first; data quality; performance; plots, a page.
        n_drifted: Drifted columns of the newest whole window.

    Raises:
        InputError: A column is missing, several models, or no common column.
        ContractError: The window cannot be read, or too many columns for so small an alpha.

    Source:
        Benjamini and Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x; Gretton et al. 2012, JMLR 13:723-773;
        Yurdakul and Naranjo 2020, doi:10.21314/JRMV.2020.227.
    """
    from claimed_med.trust import drift_page, monitoring
    from claimed_med.trust.drift import Rules

    rules = Rules(alpha, min_rows, min_effect, n_permutations, seed)
    before, now = reference.load(), predictions.load()
    report = monitoring.over_time(before, now, window, columns, rules, n_bootstrap=n_bootstrap)
    drawn = drift_page.pictures(report)
    latest = next(one for one in report["windows"] if one["name"] == report["latest"])
    return MeasureDriftOutputs(
        Report(report, html=drift_page.page(report, drawn), pictures=drawn), len(latest["causes"])
    )
