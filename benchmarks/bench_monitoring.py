"""How often monitoring finds what is planted, and how often it cries wolf: `run.py --only monitoring`.

Every deployment has its own reference of 400 validated cases and windows of 200 later ones, by the rules that
`measure-drift` and `measure-bias-over-time` have by default. A planted change counts as found where a window names its
column or group; a false alarm is a window without any change that drifts, is worse or flags a group.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from claimed_med.testing import predictions
from claimed_med.testing.predictions import Change
from claimed_med.trust import bias_over_time, drift, monitoring, subgroup

N_DEPLOYMENTS, N_FALSE, N_REFERENCE, N_WINDOW = 20, 200, 400, 200
COLUMNS = ["score", "sex", "age", "scanner", "intensity_mean", *(f"embedding_{one}" for one in range(8))]
ATTRIBUTES = ["sex", "age_band"]
CHANGES = {
    "scanner: 30 % of the cases from a new one": (Change(new_scanner=0.3), "scanner"),
    "window bug: intensities times 1.25": (Change(intensity=1.25), "intensity_mean"),
    "age mix: 12 years older": (Change(age_years=12), "age"),
    "prevalence: 75 % instead of 40 %": (Change(prevalence=0.75), "score"),
    "bias: 60 % of the ill women missed in addition": (Change(missed_women=0.6), "sex=F"),
}


def run() -> list[dict[str, Any]]:
    """A row for every planted change, and one for no change."""
    return [_found(name, *planted) for name, planted in CHANGES.items()] + _false_alarms()


def _found(case: str, change: Change, cause: str) -> dict[str, Any]:
    within = {1: 0, 2: 0}
    for seed in range(N_DEPLOYMENTS):
        reference = predictions.table(N_REFERENCE, 10_000 + seed)
        windows = [predictions.table(N_WINDOW, 20_000 + 2 * seed + one, change) for one in range(2)]
        named = [cause in _named(_report(reference, one)) for one in windows]
        within[1] += named[0]
        within[2] += any(named)
    return {"case": case, "who": "claimed_med", "deployments": N_DEPLOYMENTS, "in the first window": within[1],
            "within two windows": within[2]}  # fmt: skip


def _false_alarms() -> list[dict[str, Any]]:
    rows = []
    for series in (1, 2):  # twice: one long deployment each
        reference = predictions.table(N_REFERENCE, 30_000 + series)
        told = _report(reference, predictions.table(N_FALSE * N_WINDOW, 40_000 + series))
        alarms = [
            _named({name: [one] for name, one in zip(told, both, strict=True)})
            for both in zip(*told.values(), strict=True)
        ]
        rows.append({"case": f"no change, {series}", "who": "claimed_med", "windows": len(alarms),
                     "false alarms": sum(map(bool, alarms)), "of them": _counted(alarms)})  # fmt: skip
    return rows


def _report(reference: pd.DataFrame, table: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    size = str(N_WINDOW)
    drifts = monitoring.over_time(reference, table, size, COLUMNS, drift.Rules(), n_bootstrap=500)
    limits = bias_over_time.Limits()
    bias = bias_over_time.over_time(reference, table, size, ATTRIBUTES, subgroup.Rules(), limits)
    return {"drift": drifts["windows"], "bias": bias["windows"]}


def _named(told: dict[str, list[dict[str, Any]]]) -> set[str]:
    drifts = {name for one in told["drift"] for name in (*one["causes"], *one["worse"])}
    return drifts | {name for one in told["bias"] for name in one["flagged"]}


def _counted(alarms: list[set[str]]) -> str:
    names = sorted({name for one in alarms for name in one})
    return ", ".join(f"{name} {sum(name in one for one in alarms)}" for name in names)
