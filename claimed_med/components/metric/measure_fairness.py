"""Measure whether a classifier treats groups alike."""

from __future__ import annotations

from typing import Annotated

from claimed_med.component import Interval, component
from claimed_med.handles import Report, Table


@component(
    version="1.0.0",
    group="fairness",
    tags=("fairness", "bias", "aif360", "subgroups", "bootstrap"),
    example={
        "predictions": "classify-images:predictions",
        "cohort": "split-cohort:split",
        "subset": "",
        "n_bootstrap": 100,
    },
)
def measure_fairness(
    predictions: Table,
    cohort: Table,
    *,
    attributes: list[str] = ["sex", "age_band", "view"],  # noqa: B006 - never changed
    references: list[str] = [],  # noqa: B006 - never changed
    judged: list[str] = ["equal_opportunity_difference", "average_odds_difference"],  # noqa: B006 - never changed
    intersections: bool = False,
    subset: str = "test",
    n_bootstrap: Annotated[int, Interval(100, 100_000)] = 1000,
    min_group: Annotated[int, Interval(2, 10_000)] = 10,
    seed: Annotated[int, Interval(0, 2**31 - 1)] = 0,
) -> Report:
    """Measure whether a classifier treats groups alike.

    Every group is compared with all others of its attribute (and with a reference, if named) by AIF360's metrics,
    with the positive class as the favourable one, and described by AUC, calibration and error rates. Intervals (95 %)
    by bootstrap of patients. Groups with too few rows, or without both classes, are `too few`, never fair. Parity and
    impact are reported but not judged by default: they mislead where the prevalence differs between groups.

    Args:
        predictions: From classify-images.
        cohort: With label, split and the attributes; its label is the truth.
        attributes: Columns of the cohort; missing values are the group `unknown`.
        references: Groups, as `sex=M`, with which the others of their attribute are compared too.
        judged: Metrics that the verdicts depend on.
        intersections: Also the groups of every two attributes, as `sex=F & view=PA`.
        subset: Value of split that is measured; '' for all rows.
        n_bootstrap: Bootstrap samples.
        min_group: Fewest rows of a group, and of those it is compared with.
        seed: Of the bootstrap.

    Returns:
        fairness: Figures with intervals, a verdict (biased, fair, too few) for every attribute, bars, a page.

    Raises:
        InputError: An attribute or reference that the cohort lacks, one class only, scores that are NaN.
        ContractError: A judged metric that there is not.

    Source:
        Bellamy et al. 2018, arXiv:1810.01943 (AIF360); Feldman et al. 2015, arXiv:1412.3756 (four-fifths rule).
    """
    from claimed_med.trust import fairness_page, group, subgroup
    from claimed_med.trust.bootstrap import patient_weights
    from claimed_med.trust.fairness import FAIR_RANGES, Outcome
    from claimed_med.trust.metric import rows
    from claimed_med.trust.predictions import judge

    rules = subgroup.Rules(min_group, tuple(judged), tuple(references))
    found = judge(predictions.load(), cohort.load(), subset, "measure-fairness")
    groups = group.families(found.table, attributes, intersections=intersections)
    subgroup.check(groups, rules, "measure-fairness")
    scored = found.scored
    weights = patient_weights(list(scored.patients), n_bootstrap, seed)
    measured = subgroup.measure(Outcome(scored.positive, scored.called, scored.scores), groups, weights, rules)
    metrics = rows(measured.metrics)
    report = {
        "kind": "fairness",
        "subset": subset,
        "n_images": len(scored),
        "n_patients": int(found.table["patient_key"].nunique()),
        "missing": found.missing,
        "positive": found.positive,
        "model_digest": found.model_digest,
        "judged": list(judged),
        "min_group": min_group,
        "fair_ranges": {name: list(both) for name, both in FAIR_RANGES.items()},
        "verdicts": {one.attribute: one.as_dict() for one in measured.verdicts},
        "metrics": metrics,
    }
    drawn = fairness_page.bars(metrics)
    return Report(report, html=fairness_page.page(report, drawn), pictures={"fairness.png": drawn})
