"""Fairness of a model over any number of attributes: figures with intervals for every group, and a verdict each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from claimed_med.errors import ContractError, InputError
from claimed_med.trust import fairness
from claimed_med.trust.bootstrap import interval
from claimed_med.trust.fairness import Array, Mask, Outcome
from claimed_med.trust.group import Families
from claimed_med.trust.metric import TOO_FEW, Metric

BIASED, FAIR = "biased", "fair"
PAIRWISE = tuple(name for name in fairness.FAIR_RANGES if name != "theil_index")
_GAPS = {
    "false_negative_rate": "false_negative_rate_gap",
    "false_positive_rate": "false_positive_rate_gap",
    "calibration_error": "calibration_gap",
}
_WORST = "worst_group_auc"


@dataclass(frozen=True)
class Verdict:
    """What is said about one attribute.

    Attributes:
        attribute: Its name; `sex & view` for an intersection.
        verdict: `biased`, `fair`, or `too few` when fewer than two groups are large enough: that is not fair.
        reasons: The judged figures outside of their fair range.
        too_few: Groups that could not be judged.
    """

    attribute: str
    verdict: str
    reasons: tuple[Metric, ...] = ()
    too_few: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """JSON-ready; `certain` says that the whole interval lies outside of the fair range."""
        told = [
            {**one.as_dict(), "fair_range": list(fairness.FAIR_RANGES[one.name]), "certain": _certain(one)}
            for one in self.reasons
        ]
        return {"verdict": self.verdict, "reasons": told, "too_few": list(self.too_few)}


@dataclass
class Measured:
    """Figures and verdicts.

    Attributes:
        metrics: Every figure.
        verdicts: One an attribute.
    """

    metrics: list[Metric] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)


@dataclass(frozen=True)
class Rules:
    """How groups are judged.

    Attributes:
        min_group: Fewest rows of a group, and of those it is compared with.
        judged: Names of the metrics that the verdict depends on.
        references: Groups (`sex=M`) that the others of their attribute are also compared with.
    """

    min_group: int = 10
    judged: tuple[str, ...] = ("equal_opportunity_difference", "average_odds_difference")
    references: tuple[str, ...] = ()


def check(groups: Families, rules: Rules, where: str) -> None:
    """Refuse rules that name what there is not.

    Raises:
        ContractError: A judged metric that is unknown, or none.
        InputError: A reference that is no group.
    """
    if not rules.judged or set(rules.judged) - set(PAIRWISE):
        raise ContractError(
            where,
            "judged names no metric of groups",
            got=", ".join(rules.judged) or "none",
            allowed=", ".join(PAIRWISE),
        )
    known = [label for members in groups.values() for label in members]
    absent = sorted(set(rules.references) - set(known))
    if absent:
        raise InputError(where, "no such reference group", got=", ".join(absent), allowed=", ".join(known))


def measure(outcome: Outcome, groups: Families, weights: Array, rules: Rules) -> Measured:
    """All figures of all groups.

    Each group is compared with all others of its attribute, and with a reference if one is named. Where the group or
    its counterpart has fewer than `min_group` rows, or no row of a class, the figure is `too few`.

    Args:
        outcome: Truth, decisions, scores.
        groups: From `claimed_med.trust.group.families`.
        weights: Bootstrap by patient, shape (n_samples, n_rows).
        rules: How groups are judged.

    Returns:
        Figures and one verdict an attribute.
    """
    everyone = np.ones(len(outcome.truth), dtype=bool)
    measured = Measured()
    n = len(everyone)
    overall = _sampled(fairness.performance, outcome, everyone, weights=weights)
    overall["theil_index"] = (
        fairness.theil(outcome, everyone, fairness.ones(n)),
        fairness.theil(outcome, everyone, weights),
    )
    measured.metrics += [_metric(name, "all", n, *pair) for name, pair in overall.items()]
    worst = []
    for attribute, members in groups.items():
        held = {label: rows for label, rows in members.items() if enough(outcome, rows, rules.min_group)}
        pairs = list(_pairwise(outcome, members, weights, rules))
        measured.metrics += pairs
        each = {label: _sampled(fairness.performance, outcome, rows, weights=weights) for label, rows in held.items()}
        measured.metrics += _performances(outcome, members, each)
        measured.metrics += _spreads(attribute, each, sum(int(held[label].sum()) for label in held))
        worst += [one["auc"] for one in each.values() if "auc" in one]
        measured.verdicts.append(_judge(attribute, pairs, rules))
    if worst:
        measured.metrics.append(_metric(_WORST, "all", n, *_extreme(worst)))
    return measured


def enough(outcome: Outcome, rows: Mask, fewest: int) -> bool:
    """Whether a group is large enough and has rows of both classes."""
    return int(rows.sum()) >= fewest and bool(outcome.truth[rows].any()) and not bool(outcome.truth[rows].all())


def _pairwise(outcome: Outcome, members: Mapping[str, Mask], weights: Array, rules: Rules) -> Iterator[Metric]:
    for label, rows in members.items():
        rest = np.logical_or.reduce([other for name, other in members.items() if name != label] or [~rows & rows])
        yield from _pair(outcome, label, rows, rest, weights, rules, "")
        for reference in rules.references:
            if reference in members and reference != label:
                yield from _pair(outcome, label, rows, members[reference], weights, rules, f"_to_{reference}")


def _pair(
    outcome: Outcome, label: str, rows: Mask, others: Mask, weights: Array, rules: Rules, suffix: str
) -> Iterator[Metric]:
    n = int(rows.sum())
    if not (enough(outcome, rows, rules.min_group) and enough(outcome, others, rules.min_group)):
        yield from (Metric(f"{name}{suffix}", None, label, n=n, note=TOO_FEW) for name in PAIRWISE)
        return
    found = _sampled(fairness.bias, outcome, rows, others, weights=weights)
    yield from (_metric(f"{name}{suffix}", label, n, *found[name]) for name in PAIRWISE)


def _sampled(
    function: Callable[..., dict[str, Array]], outcome: Outcome, *rows: Mask, weights: Array
) -> dict[str, tuple[Array, Array]]:
    """Point estimate and bootstrap values of every statistic of `function`."""
    points, samples = function(outcome, *rows), function(outcome, *rows, weights)
    return {name: (points[name], samples[name]) for name in points}


def _metric(name: str, group: str, n: int, point: Array, samples: Array) -> Metric:
    value = float(point[0])
    low, high = interval(samples) if len(samples) else (float("nan"), float("nan"))
    return Metric(name, value, group, low, high, n, "" if np.isfinite(value) else "undefined")


def _performances(
    outcome: Outcome, members: Mapping[str, Mask], each: Mapping[str, Mapping[str, tuple[Array, Array]]]
) -> list[Metric]:
    names = ["selection_rate", "false_negative_rate", "false_positive_rate"]
    names += ["auc", "calibration_error"] if outcome.score is not None else []
    found = []
    for label, rows in members.items():
        n = int(rows.sum())
        if label in each:
            found += [_metric(name, label, n, *each[label][name]) for name in names]
        else:
            found += [Metric(name, None, label, n=n, note=TOO_FEW) for name in names]
    return found


def _spreads(attribute: str, each: Mapping[str, Mapping[str, tuple[Array, Array]]], n: int) -> list[Metric]:
    """Largest minus smallest over the groups of an attribute, and the AUC of the worst."""
    if len(each) < 2:
        return [Metric(name, None, attribute, n=n, note=TOO_FEW) for name in (*_GAPS.values(), _WORST)]
    known = next(iter(each.values()))
    found = []
    for name, gap in _GAPS.items():
        if name in known:
            both = [np.stack([one[name][i] for one in each.values()]) for i in (0, 1)]
            found.append(_metric(gap, attribute, n, *(part.max(axis=0) - part.min(axis=0) for part in both)))
    if "auc" in known:
        found.append(_metric(_WORST, attribute, n, *_extreme([one["auc"] for one in each.values()])))
    return found


def _extreme(pairs: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    return np.min([point for point, _ in pairs], axis=0), np.min([samples for _, samples in pairs], axis=0)


def _judge(attribute: str, pairs: Sequence[Metric], rules: Rules) -> Verdict:
    judged = [one for one in pairs if one.name in rules.judged]
    few = tuple(dict.fromkeys(one.group for one in judged if one.note == TOO_FEW))
    seen = [one for one in judged if one.note != TOO_FEW]
    reasons = tuple(
        one for one in seen if not fairness.is_fair(one.name, float("nan") if one.value is None else one.value)
    )
    if reasons:
        return Verdict(attribute, BIASED, reasons, few)
    return Verdict(attribute, FAIR if len({one.group for one in seen}) > 1 else TOO_FEW, (), few)


def _certain(metric: Metric) -> bool:
    low, high = fairness.FAIR_RANGES[metric.name]
    if metric.low is None or metric.high is None:
        return False
    return metric.high < low or metric.low > high
