"""A compiled pipeline as the text that another engine takes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from claimed_med.engines.flatten import flatten
from claimed_med.engines.flow import typed
from claimed_med.engines.ir import load

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from claimed_med.targets.plan import Plan
    from claimed_med.targets.platform import Platform


def render(target: str, source: Path, summary: str, platform: Platform, given: Mapping[str, str] | None = None) -> str:
    """The pipeline for one target.

    Args:
        target: kubeflow, airflow, slurm, argo, cwl or k8s-job.
        source: The compiled pipeline.
        summary: What it does.
        platform: Of the site.
        given: Parameter -> value that becomes its default.

    Raises:
        ContractError: A parameter that the pipeline does not have, or a value of another type.
        EngineError: The pipeline holds something that the target cannot do.
    """
    pipeline = load(source)
    values = typed(pipeline, given or {})
    if target == "kubeflow":
        from claimed_med.engines.kubeflow import with_platform

        return with_platform(source, platform, values)
    from claimed_med.targets import airflow, argo, cwl, k8s_job, slurm

    plan = _with_defaults(flatten(pipeline, summary), given or {})
    made = {"airflow": airflow, "argo": argo, "cwl": cwl, "k8s-job": k8s_job, "slurm": slurm}[target]
    return str(made.render(plan, platform))


def _with_defaults(plan: Plan, given: Mapping[str, str]) -> Plan:
    parameters = tuple(replace(one, default=given.get(one.name, one.default)) for one in plan.parameters)
    return replace(plan, parameters=parameters)
