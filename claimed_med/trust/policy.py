"""What a model must show before it may be used: a policy, and the judgement of reports by it.

    name = "chest X-ray triage"
    [[require]]
    report = "performance"      the port whose report is read
    metric = "auc"
    group = "all"               or "sex=F", or "sex=*" for every group of an attribute
    bound = "low"               value, low or high end of the interval
    comparison = ">="           >= > <= < ==
    limit = 0.70
    why = "better than the radiograph's view alone"

A figure that is missing, NaN or was measured on another model is a refusal. Nothing is ever evaluated as code.
"""

from __future__ import annotations

import hashlib
import json
import math
import operator
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from claimed_med.errors import ContractError
from claimed_med.trust.metric import TOO_FEW

_HERE = Path(__file__).parent / "policies"
COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
    "==": operator.eq,
}
BOUNDS = ("value", "low", "high")


@dataclass(frozen=True)
class Requirement:
    """One thing that must hold.

    Attributes:
        report: Name of the report.
        metric: Name of the figure.
        comparison: One of `COMPARISONS`.
        limit: What the figure is compared with.
        group: A group, or `attribute=*` for all groups of an attribute that are large enough.
        bound: `value`, or the `low` or `high` end of the interval.
        magnitude: Compare the absolute value: for differences that are bad in both directions.
        why: Words for people.
    """

    report: str
    metric: str
    comparison: str
    limit: float
    group: str = "all"
    bound: str = "value"
    magnitude: bool = False
    why: str = ""

    def __str__(self) -> str:
        shown = (
            f"{self.metric} ({self.group})"
            if self.bound == "value"
            else f"{self.bound} of {self.metric} ({self.group})"
        )
        return f"{self.report}: {f'|{shown}|' if self.magnitude else shown} {self.comparison} {self.limit:g}"


@dataclass(frozen=True)
class Policy:
    """A named list of requirements.

    Attributes:
        name: Of the policy.
        require: All must hold.
    """

    name: str
    require: tuple[Requirement, ...]

    @property
    def digest(self) -> str:
        """The sha256 of what the policy demands, however its text was laid out."""
        content = {"name": self.name, "require": [asdict(one) for one in self.require]}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Reason:
    """What came of one requirement for one group.

    Attributes:
        requirement: In words.
        group: The group that was looked at.
        value: The figure that was compared, or None.
        passed: Whether it holds.
        told: Why not, or the policy's words.
    """

    requirement: str
    group: str
    value: float | None
    passed: bool
    told: str


def names() -> list[str]:
    """The policies that come with the package."""
    return sorted(path.stem for path in _HERE.glob("*.toml"))


def load(policy: str) -> Policy:
    """Read a policy.

    Args:
        policy: The name of one that comes with the package, or the TOML text itself.

    Raises:
        ContractError: No such policy, or one that cannot be understood; an empty policy is none.
    """
    if "=" not in policy:
        if policy not in names():
            raise ContractError(
                "policy", "there is no such policy", got=repr(policy), allowed=", ".join(names()),
                do="name one of these, or give the TOML text itself",
            )  # fmt: skip
        policy = (_HERE / f"{policy}.toml").read_text(encoding="utf-8")
    try:
        content = tomllib.loads(policy)
    except tomllib.TOMLDecodeError as error:
        raise ContractError("policy", "the text is no TOML", got=str(error)) from None
    demands = content.get("require")
    if set(content) - {"name", "require"} or not isinstance(demands, list) or not demands:
        raise ContractError("policy", "needs a name and at least one [[require]]", got=", ".join(content) or "nothing")
    return Policy(str(content.get("name", "")), tuple(_requirement(one) for one in demands))


def judge(policy: Policy, reports: Mapping[str, Mapping[str, Any]], subject: str) -> list[Reason]:
    """Hold every requirement against the reports.

    Args:
        policy: What must hold.
        reports: Name -> parsed report, with `metrics`, and `model_digest` of the model that was measured.
        subject: Digest of the model in question.

    Returns:
        One reason a requirement and group, in the order of the policy.
    """
    return [reason for demand in policy.require for reason in _judged(demand, reports.get(demand.report), subject)]


def _judged(demand: Requirement, report: Mapping[str, Any] | None, subject: str) -> list[Reason]:
    told = str(demand)
    if report is None:
        return [Reason(told, demand.group, None, False, "there is no such report")]
    if report.get("model_digest") != subject:
        return [Reason(told, demand.group, None, False, "the report is about another model, or does not say which")]
    rows = [one for one in report.get("metrics", []) if one.get("name") == demand.metric]
    if demand.group.endswith("=*"):
        attribute = demand.group.removesuffix("*")
        rows = [
            one for one in rows if str(one.get("group")).startswith(attribute) and " & " not in str(one.get("group"))
        ]
        small = [one for one in rows if one.get("note") == TOO_FEW]
        rows = [one for one in rows if one.get("note") != TOO_FEW]
        found = [_compared(demand, one) for one in rows]
        found += [Reason(told, str(one["group"]), None, True, "too few to judge; left out") for one in small]
        return found if rows else [Reason(told, demand.group, None, False, "no group is large enough to be judged")]
    rows = [one for one in rows if one.get("group") == demand.group]
    return [_compared(demand, one) for one in rows] or [
        Reason(told, demand.group, None, False, "the figure is missing")
    ]


def _compared(demand: Requirement, row: Mapping[str, Any]) -> Reason:
    value = row.get(demand.bound)
    group = str(row.get("group"))
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return Reason(str(demand), group, None, False, str(row.get("note") or "the figure has no value"))
    shown = abs(float(value)) if demand.magnitude else float(value)
    if demand.magnitude and demand.bound != "value":
        shown = max(abs(float(row[end])) if row.get(end) is not None else shown for end in ("low", "high"))
    passed = COMPARISONS[demand.comparison](shown, demand.limit)
    return Reason(str(demand), group, shown, passed, demand.why)


def _requirement(content: Any) -> Requirement:
    try:
        made = Requirement(**{**content, "limit": float(content["limit"])})
    except (TypeError, ValueError, KeyError) as error:
        raise ContractError(
            "policy", "a requirement is not complete", got=str(error),
            allowed="report, metric, comparison, limit; group, bound, magnitude, why",
        ) from None  # fmt: skip
    if made.comparison not in COMPARISONS or made.bound not in BOUNDS:
        raise ContractError(
            "policy", "comparison or bound is unknown", got=f"{made.comparison}, {made.bound}",
            allowed=f"{' '.join(COMPARISONS)}; {' '.join(BOUNDS)}",
        )  # fmt: skip
    return made
