"""Fairness of a deployed classifier over time: five metrics by window and group, and whose error rate has risen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from claimed_med.errors import InputError
from claimed_med.prediction_log import ATTRIBUTES
from claimed_med.trust import group, subgroup
from claimed_med.trust.bootstrap import patient_weights
from claimed_med.trust.drift import is_numeric
from claimed_med.trust.fairness import FAIR_RANGES, Outcome
from claimed_med.trust.metric import Metric, rows
from claimed_med.trust.monitoring import KEYS, LABEL, one_model, owners
from claimed_med.trust.performance import Scored
from claimed_med.trust.window import Kept, Window, windows

Mask = npt.NDArray[np.bool_]
_WHERE = "measure-bias-over-time"


@dataclass(frozen=True)
class Limits:
    """When a group is flagged.

    Attributes:
        alpha: False discovery rate over the groups and error rates of a window.
        min_rise: Least rise of an error rate against the reference.
        n_bootstrap: Samples of the intervals.
        seed: Of the bootstrap.
    """

    alpha: float = 0.01
    min_rise: float = 0.1
    n_bootstrap: int = 500
    seed: int = 0


@dataclass(frozen=True)
class Known:
    """Predictions whose truth is known.

    Attributes:
        table: Its rows.
        scored: The same rows as numbers.
    """

    table: pd.DataFrame
    scored: Scored


def over_time(
    reference: pd.DataFrame,
    table: pd.DataFrame,
    size: str,
    attributes: Sequence[str],
    rules: subgroup.Rules,
    limits: Limits,
    *,
    kept: Kept | None = None,
) -> dict[str, Any]:
    """The report on every window, oldest first; only rows whose truth is known count.

    Without any truth yet, or without any of the attributes, there is no window, and a note says so: drift can still be
    told then. An attribute that neither table has and no server records is a slip, and an error.

    Args:
        reference: Predictions with truth that the model was validated on.
        table: Predictions of the deployed model, with the truth where it has arrived.
        size: Of a window.
        attributes: Columns that say who belongs to which group.
        rules: How groups are compared with each other.
        limits: When a risen error rate counts.
        kept: What an earlier call with the same reference, attributes and rules measured.

    Raises:
        InputError: A column is missing, an attribute that there is not, no truth of the reference is known, or a
            reference that is no group.
        ContractError: A judged metric that there is not.
    """
    _check(attributes, reference, table)
    model = one_model(table, _WHERE)
    before = known(reference, "the reference")
    used = [name for name in attributes if name in reference.columns and name in table.columns]
    notes = [f"{name} is left out: reference or predictions lack it" for name in attributes if name not in used]
    notes += [] if has_truth(table) else ["the truth of no case is known yet"]
    if not used or not has_truth(table):
        return _report(model, size, used, rules, [], notes or ["no attribute was named"])
    judged = known(table, "the table").table
    earlier, later = (group.families(one, used) for one in (before.table, judged))
    left_out = tuple(f"{name}=" for name in attributes if name not in used)
    rules = replace(rules, references=tuple(one for one in rules.references if not one.startswith(left_out)))
    subgroup.check({name: {**earlier[name], **later[name]} for name in later}, rules, _WHERE)
    cut = windows(judged, size, _WHERE)
    notes += list(_empty(cut, used))
    told = (kept or Kept()).each(cut, lambda one: _window(before, one, used, rules, limits))
    return _report(model, size, used, rules, told, notes)


def _check(attributes: Sequence[str], reference: pd.DataFrame, table: pd.DataFrame) -> None:
    """Refuse what is misspelled: nothing would be measured, and nobody would see it.

    Raises:
        InputError: An attribute that is a column of neither table, and none that a server records.
    """
    there = {*reference.columns, *table.columns, *ATTRIBUTES}
    if unknown := sorted(set(attributes) - there):
        words = (name for name in there - KEYS - {"predicted"} if not any(
            name in one.columns and is_numeric(one[name]) for one in (reference, table)))  # fmt: skip
        raise InputError(
            _WHERE, "there is no such attribute", got=", ".join(map(repr, unknown)), allowed=", ".join(sorted(words)),
            do="correct attributes",
        )  # fmt: skip


def _empty(cut: Sequence[Window], attributes: Sequence[str]) -> Iterator[str]:
    """Attributes that no case of a window has: their only group there is `unknown`."""
    for name in attributes:
        found = [one.name.partition(":")[0] for one in cut if one.table[name].isna().all()]
        if found:
            yield f"{name} is empty in {len(found)} of {len(cut)} windows: {', '.join(found[:20])}"


def has_truth(table: pd.DataFrame) -> bool:
    """Whether the truth of any case has arrived."""
    return LABEL in table.columns and bool(_told(table).any())


def _report(
    model: str,
    size: str,
    attributes: Sequence[str],
    rules: subgroup.Rules,
    told: Sequence[Mapping[str, Any]],
    notes: Sequence[str],
) -> dict[str, Any]:
    nothing: Mapping[str, Any] = {"name": "", "n": 0, "metrics": [], "flagged": {}}
    latest = next((one for one in reversed(told) if one["whole"]), told[-1] if told else nothing)
    metrics = [*_figures(latest, "latest & "), *(row for one in told for row in _figures(one, f"{_short(one)} & "))]
    metrics += [Metric("n_flagged", float(len(one["flagged"])), name, n=one["n"])
                for name, one in (("latest", latest), *((_short(one), one) for one in told))]  # fmt: skip
    return {
        "kind": "bias over time",
        "model_digest": model,
        "window": size,
        "attributes": list(attributes),
        "fair_ranges": {name: list(both) for name, both in FAIR_RANGES.items()},
        "judged": list(rules.judged),
        "notes": list(notes),
        "windows": told,
        "latest": latest["name"],
        "metrics": rows(metrics),
    }


def higher(one: Scored, rows: Mask, than: Scored, than_rows: Mask) -> Iterator[tuple[str, float, float, float]]:
    """Whether the error rates of some rows are higher than those of others: name, rate, other rate, p-value.

    A patient counts once in each rate, with the last row: rows of one patient are not independent.

    Source:
        Fisher's exact test, one-sided.
    """
    for name, ill in (("false_negative_rate", True), ("false_positive_rate", False)):
        counts = []
        for scored, mask in ((one, rows), (than, than_rows)):
            among = _once_a_patient(scored.patients, mask & (scored.positive == ill))
            wrong = int((among & (scored.called != scored.positive)).sum())
            counts.append((wrong, int(among.sum()) - wrong))
        if min(map(sum, counts)) > 0:
            (wrong, right), (other_wrong, other_right) = counts
            p_value = float(stats.fisher_exact(counts, "greater").pvalue)
            yield name, wrong / (wrong + right), other_wrong / (other_wrong + other_right), p_value


def _once_a_patient(patients: npt.NDArray[np.str_], rows: Mask) -> Mask:
    """Of some rows the last of every patient."""
    places = np.flatnonzero(rows)[::-1]
    kept = np.zeros_like(rows)
    kept[places[np.unique(patients[places], return_index=True)[1]]] = True
    return kept


def _window(
    before: Known,
    window: Window,
    attributes: Sequence[str],
    rules: subgroup.Rules,
    limits: Limits,
) -> dict[str, Any]:
    now = known(window.table, "the window")
    groups = group.families(now.table, attributes)
    weights = patient_weights(list(now.scored.patients), limits.n_bootstrap, limits.seed)
    outcome = Outcome(now.scored.positive, now.scored.called, now.scored.scores)
    measured = subgroup.measure(outcome, groups, weights, rules)
    flags = list(_flags(before, now, groups, rules, limits))
    return {
        "name": window.name,
        "n": len(now.table),
        "whole": window.whole,
        "span": list(window.span),
        "verdicts": {one.attribute: one.as_dict() for one in measured.verdicts},
        "flags": flags,
        "flagged": {group: "; ".join(one["why"] for one in flags if one["group"] == group)
                    for group in sorted({str(one["group"]) for one in flags})},
        "metrics": rows(measured.metrics),
    }  # fmt: skip


def _flags(
    before: Known, now: Known, groups: group.Families, rules: subgroup.Rules, limits: Limits
) -> Iterator[dict[str, Any]]:
    """Groups whose error rate is higher than it was, or than that of the others, beyond chance and by enough."""
    found = []
    for attribute, members in groups.items():
        earlier = group.families(before.table, [attribute])[attribute]
        for label, mask in members.items():
            if label in earlier and min(int(mask.sum()), int(earlier[label].sum())) >= rules.min_group:
                told = higher(now.scored, mask, before.scored, earlier[label])
                found += [(label, "rose from {1:.2f} to {0:.2f}", *one) for one in told]
            if min(int(mask.sum()), int((~mask).sum())) >= rules.min_group:
                told = higher(now.scored, mask, now.scored, ~mask)
                found += [(label, "is {0:.2f}, that of the others {1:.2f}", *one) for one in told]
    if not found:
        return
    adjusted = stats.false_discovery_control([one[-1] for one in found])
    for (label, words, name, rate, other, p_value), q in zip(found, adjusted, strict=True):
        if q <= limits.alpha and rate - other >= limits.min_rise:
            why = f"{name} {words.format(rate, other)}"
            yield {"group": label, "rate": name, "now": rate, "against": other, "p_value": p_value, "why": why}


def known(table: pd.DataFrame, what: str) -> Known:
    """The rows whose truth has arrived.

    Raises:
        InputError: A column is missing, or there is no such row.
    """
    needed = {LABEL, "score", "predicted", "positive"}
    if absent := sorted(needed - set(table.columns)):
        raise InputError(_WHERE, f"{what} lacks a column", got=", ".join(absent))
    told = table[_told(table)]
    if told.empty:
        raise InputError(_WHERE, f"{what} holds no case whose truth is known", do="add the truth, or wait for it")
    told = told.reset_index(drop=True)
    positive = str(told["positive"].iloc[0])
    return Known(
        told,
        Scored(
            told["score"].to_numpy(dtype=np.float64),
            (told[LABEL].astype(str) == positive).to_numpy(),
            (told["predicted"].astype(str) == positive).to_numpy(),
            owners(told),
        ),
    )


def _told(table: pd.DataFrame) -> pd.Series:
    score = table["score"].notna() if "score" in table.columns else True
    return table[LABEL].notna() & (table[LABEL].astype(str) != "") & score


def _short(window: Mapping[str, Any]) -> str:
    return f"window={str(window['name']).partition(':')[0]}"


def _figures(window: Mapping[str, Any], prefix: str) -> Iterator[Metric]:
    for one in window["metrics"]:
        yield Metric(
            one["name"], one["value"], f"{prefix}{one['group']}", one["low"], one["high"], one["n"], one["note"]
        )
