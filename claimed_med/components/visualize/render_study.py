"""Put all reports of a study on one page."""

from __future__ import annotations

from claimed_med.component import component
from claimed_med.handles import Report


@component(
    version="1.0.0",
    tags=("report", "html", "lineage"),
    example={
        "blessing": "bless-model:reasons",
        "training": "train-classifier:training",
        "performance": "measure-classification:performance",
        "fairness": "measure-fairness:fairness",
        "explanation": "explain-predictions:explanation",
        "robustness": "measure-robustness:robustness",
    },
)
def render_study(
    blessing: Report, training: Report, performance: Report, fairness: Report, explanation: Report, robustness: Report
) -> Report:
    """Put all reports of a study on one page.

    Verdict with reasons, training curves, performance, fairness bars with their fair ranges, example maps, robustness
    curves, and the lineage from the source data on, in one HTML file that needs no network. The page is the same
    whether the model was blessed or refused.

    Args:
        blessing: Reasons of bless-model.
        training: From train-classifier.
        performance: From measure-classification.
        fairness: From measure-fairness.
        explanation: From explain-predictions.
        robustness: From measure-robustness.

    Returns:
        study: The page, and all figures in one JSON.

    Raises:
        InputError: A report that cannot be read.
    """
    from claimed_med import lineage
    from claimed_med.trust import study

    given = {
        "Verdict": blessing,
        "Training": training,
        "Performance": performance,
        "Fairness": fairness,
        "Explanations": explanation,
        "Robustness": robustness,
    }
    reports = {title: (report.load(), report.page()) for title, report in given.items()}
    records = {
        title: record
        for title, report in given.items()
        if (record := report.record or (lineage.read(report.path) if report.path is not None else None)) is not None
    }
    figures = {title.lower(): content.get("metrics", []) for title, (content, _) in reports.items()}
    verdict = str(reports["Verdict"][0].get("verdict", ""))
    return Report({"kind": "study", "verdict": verdict, "figures": figures}, html=study.page(reports, records))
