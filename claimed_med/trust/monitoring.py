"""A deployed classifier over time: what drifts, what is missing, and how well it does once the truth arrives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from claimed_med.errors import ContractError, InputError
from claimed_med.trust import calibration, drift, performance
from claimed_med.trust.metric import Metric, finite, rows
from claimed_med.trust.performance import Scored
from claimed_med.trust.window import Kept, Window, windows

LABEL, OUTCOME, DONE = "label", "outcome", "done"
KEYS = frozenset(
    "time case unit_key sop_uid sop_key series_uid study_uid patient_key model_digest variant positive threshold "
    "split label outcome".split()
)
_FIGURES = ("auc", "sensitivity", "specificity", "balanced_accuracy", "brier", "ece", "prevalence")
_N_SAMPLES = 499
_BY_CHANCE = 0.01  # part of windows without a change whose calibration may be called worse


def columns_of(reference: pd.DataFrame, table: pd.DataFrame, wanted: Sequence[str], where: str) -> list[str]:
    """The columns to test: the wanted ones, or all that both tables have and that are no key.

    Raises:
        InputError: A wanted column is missing, or nothing is common.
    """
    absent = sorted({name for name in wanted if name not in reference.columns or name not in table.columns})
    if absent:
        raise InputError(where, "reference or predictions lack a column", got=", ".join(absent))
    common = [name for name in table.columns if name in set(reference.columns)]
    found = list(wanted) or [name for name in common if name not in KEYS and not name.startswith("probability_")]
    if not found:
        raise InputError(where, "reference and predictions have no attribute in common")
    return found


def one_model(table: pd.DataFrame, where: str) -> str:
    """The digest of the model whose predictions these are; '' where the table does not tell.

    Raises:
        InputError: There are several: their scores must not be compared.
    """
    models = sorted(set(table["model_digest"].dropna().astype(str))) if "model_digest" in table.columns else [""]
    if len(models) > 1:
        raise InputError(where, "the predictions come from several models", got=len(models), do="filter by model")
    return models[0] if models else ""


def over_time(
    reference: pd.DataFrame,
    table: pd.DataFrame,
    size: str,
    wanted: Sequence[str],
    rules: drift.Rules,
    *,
    n_bootstrap: int,
    kept: Kept | None = None,
) -> dict[str, Any]:
    """The report on every window, oldest first.

    Args:
        reference: What the model was validated on: the same columns, with `label` where performance is compared.
        table: Predictions; see `claimed_med.components.monitor.measure_drift`.
        size: Of a window.
        wanted: Columns to test; none for all common ones.
        rules: When a difference counts.
        n_bootstrap: Samples of the intervals of performance.
        kept: What an earlier call with the same reference and rules measured.

    Returns:
        JSON-ready; `metrics` as in every report, the newest whole window as group `latest`.
    """
    where = "measure-drift"
    model = one_model(table, where)
    columns = columns_of(reference, table, wanted, where)
    before = scored(reference, where)
    base = [] if before is None else performance.measure(before, "reference", n_bootstrap=n_bootstrap, seed=rules.seed)
    known = None if before is None else (before, base)
    told = (kept or Kept()).each(
        windows(table, size, where), lambda one: _window(reference, one, columns, rules, known, n_bootstrap)
    )
    latest = next((one for one in reversed(told) if one["whole"]), told[-1])
    return {
        "kind": "drift",
        "model_digest": model,
        "window": size,
        "n_reference": len(reference),
        "n_predictions": len(table),
        "columns": columns,
        "rules": {"alpha": rules.alpha, "min_rows": rules.min_rows, "min_effect": rules.min_effect},
        "reference": {one.name: one.as_dict() for one in base if one.name in _FIGURES},
        "windows": told,
        "latest": latest["name"],
        "metrics": rows([*_metrics(latest, "latest"), *(row for one in told for row in _metrics(one, _label(one)))]),
    }


def scored(table: pd.DataFrame, where: str) -> Scored | None:
    """Scores with their truth, of the rows whose truth has arrived; None without both classes.

    Raises:
        ContractError: `predicted` and `label` do not say the same words.
    """
    if not {LABEL, "score", "predicted", "positive"} <= set(table.columns):
        return None
    known = table[table[LABEL].notna() & (table[LABEL].astype(str) != "") & table["score"].notna()]
    if known.empty:
        return None
    positive = str(known["positive"].iloc[0])
    truth = (known[LABEL].astype(str) == positive).to_numpy()
    if not truth.any() or truth.all():
        return None
    if not (known["predicted"].astype(str) == positive).any() and not set(known["predicted"]) & set(known[LABEL]):
        raise ContractError(where, "predictions and truth use other words for the classes", do="map one to the other")
    return Scored(
        known["score"].to_numpy(dtype=np.float64),
        truth,
        (known["predicted"].astype(str) == positive).to_numpy(),
        owners(known),
    )


def owners(table: pd.DataFrame) -> npt.NDArray[np.str_]:
    """The patient of every row; a row whose patient is not known is one of its own."""
    rows = np.array([f"row {one}" for one in range(len(table))])
    if "patient_key" not in table.columns:
        return rows
    keys = table["patient_key"].fillna("").astype(str).to_numpy(dtype=str)
    return np.where(keys == "", rows, keys)


def quality(reference: pd.DataFrame, window: pd.DataFrame, columns: Sequence[str]) -> dict[str, Any]:
    """What is wrong with the data itself: missing attributes, values never seen before, refused cases."""
    named = [name for name in columns if not name.startswith("embedding_")]
    new = {}
    for name in named:
        if not drift.is_numeric(reference[name]):
            found = sorted(set(window[name].dropna().astype(str)) - set(reference[name].dropna().astype(str)))
            new.update({name: found} if found else {})
    refused = float((window[OUTCOME].astype(str) != DONE).mean()) if OUTCOME in window.columns else 0.0
    known = window[named].notna().any(axis=1)  # of files that could not be read nothing is known: they are refused
    missing = {name: float(part) for name, part in window.loc[known, named].isna().mean().items()}
    return {"missing": {name: part for name, part in missing.items() if part}, "new": new, "refused": refused}


def _window(
    reference: pd.DataFrame,
    window: Window,
    columns: Sequence[str],
    rules: drift.Rules,
    known: tuple[Scored, Sequence[Metric]] | None,
    n_bootstrap: int,
) -> dict[str, Any]:
    answered = window.table[window.table[OUTCOME].astype(str) == DONE] if OUTCOME in window.table else window.table
    tests = drift.compare(reference, answered, columns, rules)
    drifted = sorted((one for one in tests if one.drifted), key=lambda one: (-one.effect, one.column))
    found = scored(answered, "measure-drift")
    figures = (
        []
        if found is None or len(found) < rules.min_rows
        else performance.measure(found, window.name, n_bootstrap=n_bootstrap, seed=rules.seed)
    )
    return {
        "name": window.name,
        "n": len(window.table),
        "whole": window.whole,
        "span": list(window.span),
        "drifted": bool(drifted),
        "causes": [one.column for one in drifted],
        "tests": [_test(one) for one in tests],
        "quality": quality(reference, window.table, columns),
        "score": _spread(answered["score"]) if "score" in answered else [],
        "performance": {one.name: one.as_dict() for one in figures if one.name in _FIGURES},
        "worse": [] if known is None or found is None or not figures else list(_worse(*known, found, figures, rules)),
    }


def _worse(
    reference: Scored, base: Sequence[Metric], window: Scored, figures: Sequence[Metric], rules: drift.Rules
) -> Iterator[str]:
    """What is worse: `auc` where its interval lies below that of the reference, `ece` beyond chance."""
    before, after = (next(one for one in both if one.name == "auc") for both in (base, figures))
    if before.low is not None and after.high is not None and after.high < before.low:
        yield "auc"
    if _is_worse_calibrated(reference, window, rules.seed):
        yield "ece"


def _is_worse_calibrated(reference: Scored, window: Scored, seed: int) -> bool:
    """Whether the calibration error is larger than in samples of as many patients from the reference.

    The error grows as rows get fewer, so it can only be compared at the same size.
    """
    patients, owner = np.unique(reference.patients, return_inverse=True)
    n_patients = len(np.unique(window.patients))
    drawn = np.random.default_rng(seed).multinomial(
        n_patients, np.full(len(patients), 1 / len(patients)), size=_N_SAMPLES
    )
    by_chance = calibration.ece(reference.scores, reference.positive, drawn[:, owner].astype(np.float64))
    found = calibration.ece(window.scores, window.positive, np.ones((1, len(window))))[0]
    return bool((1 + int((by_chance >= found).sum())) / (1 + _N_SAMPLES) <= _BY_CHANCE)


def _test(one: drift.Test) -> dict[str, Any]:
    told: dict[str, Any] = {**vars(one), "new": list(one.new)}
    return {**told, "value": finite(one.value), "effect": finite(one.effect)}


def _spread(scores: pd.Series) -> list[float]:
    """5, 25, 50, 75 and 95 % of the scores."""
    known = scores.dropna().to_numpy(dtype=np.float64)
    return [float(one) for one in np.quantile(known, [0.05, 0.25, 0.5, 0.75, 0.95])] if len(known) else []


def _label(window: Mapping[str, Any]) -> str:
    return f"window={str(window['name']).partition(':')[0]}"


def _metrics(window: Mapping[str, Any], group: str) -> Iterator[Metric]:
    n = int(window["n"])
    yield Metric("n_drifted", float(len(window["causes"])), group, n=n)
    yield Metric("max_effect", max((one["effect"] or 0.0 for one in window["tests"]), default=0.0), group, n=n)
    yield Metric("refused", window["quality"]["refused"], group, n=n)
    yield Metric("max_missing", max(window["quality"]["missing"].values(), default=0.0), group, n=n)
    yield Metric("n_new_values", float(sum(map(len, window["quality"]["new"].values()))), group, n=n)
    yield Metric("n_worse", float(len(window["worse"])), group, n=n)
    for name, one in window["performance"].items():
        yield Metric(name, one["value"], group, one["low"], one["high"], one["n"], one["note"])
