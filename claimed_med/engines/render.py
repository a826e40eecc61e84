"""A compiled pipeline as the text that another engine takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claimed_med.engines.flatten import flatten
from claimed_med.engines.ir import load

if TYPE_CHECKING:
    from pathlib import Path

    from claimed_med.targets.platform import Platform


def render(target: str, source: Path, summary: str, platform: Platform) -> str:
    """The pipeline for one target.

    Args:
        target: kubeflow, airflow, slurm, argo, cwl or k8s-job.
        source: The compiled pipeline.
        summary: What it does.
        platform: Of the site.

    Raises:
        EngineError: The pipeline holds something that the target cannot do.
    """
    pipeline = load(source)
    if target == "kubeflow":
        from claimed_med.engines.kubeflow import with_platform

        return with_platform(source, platform)
    from claimed_med.targets import airflow, argo, cwl, k8s_job, slurm

    plan = flatten(pipeline, summary)
    made = {"airflow": airflow, "argo": argo, "cwl": cwl, "k8s-job": k8s_job, "slurm": slurm}[target]
    return str(made.render(plan, platform))
