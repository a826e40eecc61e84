"""Which limits of a deployed model are passed, and why."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from claimed_med.errors import InputError
from claimed_med.trust import policy
from claimed_med.trust.policy import Policy


@dataclass(frozen=True)
class Alert:
    """A limit that is passed.

    Attributes:
        key: Identifies model, limit and group.
        limit: In words.
        value: The figure, or None when it is missing.
        why: The words of the limit.
        causes: What passes it: drifted columns, flagged groups ...; '' alone where nothing can be named.
    """

    key: str
    limit: str
    value: float | None
    why: str
    causes: tuple[str, ...]


def raised(limits: Policy, reports: Mapping[str, Mapping[str, Any]]) -> list[Alert]:
    """The limits that do not hold.

    Args:
        limits: Read by `claimed_med.trust.policy.load`.
        reports: `drift` and `bias`.

    Raises:
        InputError: The reports are about different models.
    """
    models = sorted({str(one.get("model_digest", "")) for one in reports.values()})
    if len(models) != 1:
        raise InputError("send-notification", "the reports are about different models", got=len(models), allowed="1")
    return [
        Alert(
            hashlib.sha256(json.dumps([models[0], one.requirement, one.group]).encode()).hexdigest()[:16],
            one.requirement,
            one.value,
            one.told,
            _causes(one.requirement, reports),
        )
        for one in policy.judge(limits, reports, models[0])
        if not one.passed
    ]


def rules(limits: Policy) -> str:
    """The limits as Prometheus alerting rules over the metrics of `claimed-med monitor serve`; a missing figure alerts.

    Source:
        Prometheus documentation, Alerting rules.
    """
    lines = ["groups:", f"- name: {json.dumps(limits.name)}", "  rules:"]
    for number, one in enumerate(limits.require, 1):
        name = "claimed_med_monitor" if one.bound == "value" else f"claimed_med_monitor_{one.bound}"
        figure = f'{name}{{report="{one.report}",metric="{one.metric}",group{_matcher(one.group)}}}'
        value = f"abs({figure})" if one.magnitude else figure
        broken = {">=": "<", ">": "<=", "<=": ">", "<": ">=", "==": "!="}[one.comparison]
        lines += [
            f"  - alert: claimed_med_{number}_{one.metric}",
            f"    expr: {json.dumps(f'{value} {broken} {one.limit:g} or absent({figure})')}",
            "    labels:",
            "      severity: warning",
            "    annotations:",
            f"      summary: {json.dumps(one.why or str(one))}",
        ]
    return "\n".join(lines) + "\n"


def _matcher(group: str) -> str:
    """How PromQL asks for a group; `sex=*` is every group of the attribute."""
    if not group.endswith("=*"):
        return f"={json.dumps(group)}"
    start = re.sub(r"([^\w =&])", r"\\\1", group.removesuffix("*"))
    return f"=~{json.dumps(start + '.+')}"


def _causes(requirement: str, reports: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    name, _, figure = requirement.partition(": ")
    report = reports.get(name, {})
    latest: Mapping[str, Any] = next(
        (one for one in report.get("windows", []) if one["name"] == report.get("latest")), {}
    )
    quality = latest.get("quality", {})
    found = {
        "n_drifted": latest.get("causes", []),
        "n_worse": latest.get("worse", []),
        "max_missing": sorted(quality.get("missing", {})),
        "n_flagged": sorted(latest.get("flagged", {})),
    }
    return tuple(found.get(figure.split(" ")[0].strip("|"), ())) or ("",)
