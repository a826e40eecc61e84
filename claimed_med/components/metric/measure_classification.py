"""Measure how well a classifier performs, overall and by group."""

from __future__ import annotations

from typing import Annotated

from claimed_med.component import Interval, component
from claimed_med.handles import Report, Table


@component(
    version="1.0.0",
    group="performance",
    tags=("auc", "calibration", "confusion matrix", "bootstrap", "delong"),
    example={
        "predictions": "classify-images:predictions",
        "cohort": "split-cohort:split",
        "subset": "",
        "n_bootstrap": 100,
    },
)
def measure_classification(
    predictions: Table,
    cohort: Table,
    *,
    subset: str = "test",
    groups: list[str] = ["sex", "age_band", "view"],  # noqa: B006 - never changed
    n_bootstrap: Annotated[int, Interval(100, 100_000)] = 1000,
    n_bins: Annotated[int, Interval(2, 100)] = 10,
    min_group: Annotated[int, Interval(2, 10_000)] = 10,
    seed: Annotated[int, Interval(0, 2**31 - 1)] = 0,
) -> Report:
    """Measure how well a classifier performs, overall and by group.

    Confusion matrix, ROC and precision-recall curves, sensitivity, specificity, predictive values, calibration.
    Intervals (95 %) by bootstrap of patients, and DeLong's for the AUC. The threshold is the one that training chose
    on validation images. Groups with too few rows, or without both classes, are said to be too small.

    Args:
        predictions: From classify-images.
        cohort: With label, split and the columns of the groups.
        subset: Value of split that is measured; '' for all rows.
        groups: Columns by whose values everything is measured again.
        n_bootstrap: Bootstrap samples.
        n_bins: Bins of calibration error and reliability curve.
        min_group: Fewest rows of a group.
        seed: Of the bootstrap.

    Returns:
        performance: Figures with intervals, curves, confusion matrix; plots as PNG and SVG; a page.

    Raises:
        InputError: A class without images, labels that are no class of the model, scores that are NaN.

    Source:
        DeLong et al. 1988, doi:10.2307/2531595; Obuchowski 1997, doi:10.2307/2533958; Naeini et al. 2015 (ECE).
    """
    from claimed_med.trust import calibration, performance, performance_page
    from claimed_med.trust.metric import Metric, rows
    from claimed_med.trust.predictions import judge
    from claimed_med.trust.split import overlap

    table = cohort.load()
    judged = judge(predictions.load(), table, subset, "measure-classification")
    scored = judged.scored
    options = {"n_bootstrap": n_bootstrap, "seed": seed, "n_bins": n_bins}
    metrics = performance.measure(scored, "all", **options)
    for name, inside in judged.groups(groups).items():
        metrics += performance.measure(scored.of(inside), name, min_group=min_group, **options)
    if len(judged.classes) > 2:
        for name in judged.classes:
            single = performance.measure(judged.one_versus_rest(name), f"class={name}", **options)
            metrics += [one for one in single if one.name in {"auc", "auc_delong", "average_precision"}]
    leaking = overlap(table, "patient_key") if "split" in table else []
    metrics.append(Metric("patient_overlap", float(len(leaking)), n=int(table["patient_key"].nunique())))
    slope, intercept = calibration.slope_and_intercept(scored.scores, scored.positive)
    metrics += [Metric("calibration_slope", slope, n=len(scored)), Metric("calibration_intercept", intercept)]
    report = {
        "kind": "classification",
        "subset": subset,
        "n_images": len(scored),
        "n_patients": int(judged.table["patient_key"].nunique()),
        "missing": judged.missing,
        "classes": judged.classes,
        "positive": judged.positive,
        "threshold": float(judged.table["threshold"].iloc[0]),
        "model_digest": judged.model_digest,
        "confusion": performance.confusion(judged.table["label"], judged.table["predicted"], judged.classes),
        "metrics": rows(metrics),
        "curves": {
            "roc": performance.roc(scored),
            "precision_recall": performance.precision_recall(scored),
            "reliability": calibration.reliability(scored.scores, scored.positive, n_bins),
        },
    }
    drawn = performance_page.pictures(report, scored)
    return Report(report, html=performance_page.page(report, drawn), pictures=drawn)
