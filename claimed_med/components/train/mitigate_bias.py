"""Train credit models with and without bias mitigation."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from claimed_med.component import Interval, component
from claimed_med.handles import Report, Table


class MitigateBiasOutputs(NamedTuple):
    """What mitigate_bias returns."""

    summary: Report
    predictions: Table


@component(
    version="1.0.0",
    image="torch",
    tags=("fairness", "mitigation", "reweighing", "adversarial debiasing", "german credit"),
    example={"applicants": "load-credit-table:applicants", "n_splits": 2, "method": "reweighing"},
)
def mitigate_bias(
    applicants: Table,
    *,
    method: Literal[
        "reweighed_ensemble", "reweighing", "adversarial_debiasing", "exponentiated_gradient", "threshold_optimizer"
    ] = "reweighed_ensemble",
    attributes: list[str] = ["sex", "age"],  # noqa: B006 - never changed
    n_splits: Annotated[int, Interval(1, 1000)] = 20,
    first_seed: Annotated[int, Interval(0, 2**31 - 1)] = 0,
    compared: list[str] = [],  # noqa: B006 - never changed
) -> MitigateBiasOutputs:
    """Train credit models with and without bias mitigation.

    Many splits (70/30, stratified by outcome), since one says little; nothing is chosen on a test part. Before is a
    logistic regression on all columns. After is the method, trained with the protected attribute of the training
    rows; at prediction the attribute is not among the columns and one threshold holds for all, except for
    threshold_optimizer, which needs the attribute. The default method averages reweighed models; its two constants
    were chosen on the splits with seeds 1000 to 1039, so report other seeds.

    Args:
        applicants: From load-credit-table.
        method: How bias is mitigated.
        attributes: Protected attributes, each mitigated by itself: sex (men privileged), age (over 25 privileged).
        n_splits: Splits.
        first_seed: Seed of the first split; the others follow.
        compared: Other methods whose means over the same splits are told.

    Returns:
        summary: Every split with AIF360's five metrics, accuracy and balanced accuracy before and after, means,
            medians, intervals; also as summary.json with the predictions.csv from which all can be recomputed.
        predictions: One row a test credit and split: attribute, seed, row, y, prediction, group (1 = privileged),
            prediction_before.

    Raises:
        InputError: The table is not German credit, or a group lacks an outcome.
        ContractError: An attribute or method that there is not.

    Source:
        Kamiran and Calders 2012, doi:10.1007/s10115-011-0463-8; Zhang et al. 2018, doi:10.1145/3278721.3278779;
        Agarwal et al. 2018, arXiv:1803.02453; Hardt et al. 2016, arXiv:1610.02413.
    """
    import pandas as pd

    from claimed_med.errors import ContractError
    from claimed_med.trust import credit_benchmark, german_credit, mitigation, mitigation_page
    from claimed_med.trust.metric import rows

    for asked, allowed in ((attributes, german_credit.ATTRIBUTES), (compared, tuple(mitigation.METHODS))):
        if set(asked) - set(allowed) or len(set(asked)) < len(asked) or (asked is attributes and not asked):
            raise ContractError(
                "mitigate-bias", "unknown, repeated or no name", got=", ".join(asked), allowed=", ".join(allowed)
            )
    table = german_credit.check(applicants.load(), "mitigate-bias")
    seeds = credit_benchmark.seeds_from(first_seed, n_splits)
    decisions = list(credit_benchmark.decide(table, method, attributes, seeds))
    summary = credit_benchmark.summary(decisions)
    others = {
        one: credit_benchmark.short(credit_benchmark.summary(credit_benchmark.decide(table, one, attributes, seeds)))
        for one in compared
    }
    report = {
        "kind": "mitigation",
        "method": method,
        "attribute_at_prediction": method in mitigation.AT_PREDICTION,
        "n_splits": n_splits,
        "first_seed": first_seed,
        "n_rows": len(table),
        "compared": others,
        "summary": summary,
        "metrics": rows(credit_benchmark.as_metrics(summary)),
    }
    listed = pd.concat([one.table() for one in decisions], ignore_index=True)
    drawn = mitigation_page.dots(summary)
    files = {
        "summary.json": credit_benchmark.to_json(summary),
        "predictions.csv": listed.to_csv(index=False, lineterminator="\n").encode(),
        "mitigation.png": drawn,
    }
    page = mitigation_page.page({**report, "summary": "see summary.json"}, summary, drawn)
    return MitigateBiasOutputs(Report(report, html=page, pictures=files), Table(listed))
