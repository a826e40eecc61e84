"""Measure whether a deployed classifier treats groups alike over time."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from claimed_med.component import Interval, component
from claimed_med.handles import Report, Table


class MeasureBiasOverTimeOutputs(NamedTuple):
    """What measure_bias_over_time returns."""

    bias: Report
    n_flagged: int


@component(
    version="1.0.0",
    tags=("monitoring", "fairness", "bias", "subgroups"),
    example={
        "reference": "predictions_before",
        "predictions": "predictions_now",
        "attributes": ["sex"],
        "n_bootstrap": 100,
    },
)
def measure_bias_over_time(
    reference: Table,
    predictions: Table,
    *,
    window: str = "200",
    attributes: list[str] = ["sex", "age_band"],  # noqa: B006 - never changed
    references: list[str] = [],  # noqa: B006 - never changed
    judged: list[str] = ["equal_opportunity_difference", "average_odds_difference"],  # noqa: B006 - never changed
    alpha: Annotated[float, Interval(1e-6, 0.5)] = 0.01,
    min_rise: Annotated[float, Interval(0, 1)] = 0.1,
    min_group: Annotated[int, Interval(2, 10_000)] = 10,
    n_bootstrap: Annotated[int, Interval(100, 100_000)] = 500,
    seed: Annotated[int, Interval(0, 2**31 - 1)] = 0,
) -> MeasureBiasOverTimeOutputs:
    """Measure whether a deployed classifier treats groups alike over time.

    Every window gets AIF360's five metrics with intervals for every group, as measure-fairness gives them. A group is
    flagged when its false negative or false positive rate has risen against the reference, or is higher than that of
    the others: by Fisher's exact test at a false discovery rate over all groups, and by at least min_rise; a patient
    counts once in each rate. Only cases whose truth is known count; without any, or without any of the attributes,
    the report has no window and a note. An attribute that neither table has, and no server records, is an error.

    Args:
        reference: Predictions with truth that the model was validated on.
        predictions: Of the deployed model: score, predicted, positive, label (the truth; empty where not known yet),
            the attributes, and where known time and patient_key.
        window: A number of cases with truth (`200`), or hours, days or weeks (`24h`, `7d`, `4w`).
        attributes: Columns that say who belongs to which group; missing values are the group `unknown`.
        references: Groups, as `sex=M`, with which the others of their attribute are compared too.
        judged: Metrics that the verdicts depend on.
        alpha: False discovery rate over the groups and error rates of a window.
        min_rise: Least difference of an error rate that counts.
        min_group: Fewest cases of a group, and of those it is compared with.
        n_bootstrap: Samples of the intervals, by patient.
        seed: Of the bootstrap.

    Returns:
        bias: Every window with its flagged groups and why; figures; notes; plot, a page.
        n_flagged: Flagged groups of the newest whole window.

    Raises:
        InputError: A column or attribute is missing, no truth of the reference is known, or a reference that is no group.
        ContractError: The window cannot be read, or a judged metric that there is not.

    Source:
        Bellamy et al. 2018, arXiv:1810.01943 (AIF360); Benjamini and Hochberg 1995.
    """
    from claimed_med.trust import bias_page
    from claimed_med.trust.bias_over_time import Limits, over_time
    from claimed_med.trust.subgroup import Rules

    rules = Rules(min_group, tuple(judged), tuple(references))
    limits = Limits(alpha, min_rise, n_bootstrap, seed)
    report = over_time(reference.load(), predictions.load(), window, attributes, rules, limits)
    drawn = bias_page.pictures(report)
    flagged = [group for one in report["windows"] if one["name"] == report["latest"] for group in one["flagged"]]
    return MeasureBiasOverTimeOutputs(Report(report, html=bias_page.page(report, drawn), pictures=drawn), len(flagged))
