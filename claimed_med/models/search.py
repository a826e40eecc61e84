"""Search hyperparameters with Optuna; a search that was killed goes on with the trials that are left."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

from claimed_med.errors import ModelError
from claimed_med.searchspace import Parameter, Space

N_STARTUP = 5  # trials that are drawn at random, before those before guide the next


def search(
    space: Space, evaluate: Callable[[dict[str, Any]], float], *, seed: int, storage: Path | None = None
) -> dict[str, Any]:
    """Try hyperparameters, each trial guided by those before.

    Args:
        space: What is searched.
        evaluate: Hyperparameters -> metric. A ModelError (not enough memory, a loss that is not finite) or a value that
            is not finite makes the trial a failed one; any other error ends the search, since all trials would fail.
        seed: Of the sampler.
        storage: File in which trials are kept, so that none is done again after a kill; None for memory. Trials of
            another space or seed in it are not taken.

    Returns:
        `best` (parameters), `value`, `objective`, and `trials`: number, parameters, value, state.

    Raises:
        ModelError: No trial gave a value.

    Source:
        Akiba et al. 2019 (Optuna), doi:10.1145/3292500.3330701; Bergstra et al. 2011 (TPE).
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    kept = _kept(storage)
    study = optuna.create_study(direction=space.direction)
    listed: list[dict[str, Any]] = []
    for number in range(space.n_trials):
        trial = _next(study, space, seed + number)
        drawn = dict(trial.params)
        known = next((one for one in kept if one["number"] == number and one["parameters"] == drawn), None)
        value = known["value"] if known else _evaluated(evaluate, drawn)
        study.tell(trial, value, state=None if value is not None else optuna.trial.TrialState.FAIL)
        state = "failed" if value is None else "complete"
        listed.append({"number": number, "parameters": drawn, "value": value, "state": state})
        if storage is not None and not known:
            _keep(storage, listed[-1])
    good = [one for one in listed if one["value"] is not None]
    if not good:
        raise ModelError("search", "no trial gave a value", got=f"{len(listed)} trials", do="see a single training run")
    sign = 1 if space.direction == "maximize" else -1
    best = max(good, key=lambda one: (sign * one["value"], -one["number"]))
    return {"best": best["parameters"], "value": best["value"], "objective": space.objective, "trials": listed}


def _next(study: optuna.Study, space: Space, seed: int) -> optuna.Trial:
    # a sampler of its own for every trial: what is drawn depends on the trials before, not on a restart
    study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=N_STARTUP)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of features that Optuna calls experimental
        trial = study.ask()
        for one in space.parameters:
            _draw(trial, one)
    return trial


def _draw(trial: optuna.Trial, one: Parameter) -> None:
    if one.type == "categorical":
        trial.suggest_categorical(one.name, list(one.choices))
    elif one.type == "int":
        trial.suggest_int(one.name, int(one.low), int(one.high), log=one.log)
    else:
        trial.suggest_float(one.name, one.low, one.high, log=one.log)


def _evaluated(evaluate: Callable[[dict[str, Any]], float], drawn: dict[str, Any]) -> float | None:
    try:
        value = float(evaluate(dict(drawn)))
    except ModelError:
        return None
    return value if math.isfinite(value) else None


def _keep(storage: Path, trial: dict[str, Any]) -> None:
    with storage.open("a", encoding="utf-8") as stream:
        # a line of its own, also after one that a kill cut off
        stream.write("\n" + json.dumps(trial) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def _kept(storage: Path | None) -> list[dict[str, Any]]:
    """The trials of a search that was killed; a line that was cut off does not count."""
    if storage is None:
        return []
    storage.parent.mkdir(parents=True, exist_ok=True)
    found = []
    for line in storage.read_text(encoding="utf-8").splitlines() if storage.is_file() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found
