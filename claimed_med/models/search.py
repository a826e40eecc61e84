"""Search hyperparameters with Optuna; a search that was killed goes on with the trials that are left."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from claimed_med.errors import ClaimedMedError, ModelError
from claimed_med.searchspace import Space

_NAME = "search"


def search(
    space: Space, evaluate: Callable[[dict[str, Any]], float], *, seed: int, storage: Path | None = None
) -> dict[str, Any]:
    """Try hyperparameters, each trial guided by those before.

    Args:
        space: What is searched.
        evaluate: Hyperparameters -> metric; a ClaimedMedError makes the trial a failed one.
        seed: Of the sampler.
        storage: File in which trials are kept, so that none is done again; None for memory.

    Returns:
        `best` (parameters), `value`, and `trials`: number, parameters, value, state.

    Raises:
        ModelError: No trial gave a value.

    Source:
        Akiba et al. 2019 (Optuna), doi:10.1145/3292500.3330701; Bergstra et al. 2011 (TPE).
    """
    import optuna

    optuna.logging.set_verbosity(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(
            study_name=_NAME, direction=space.direction, storage=_storage(storage), load_if_exists=True,
            sampler=optuna.samplers.RandomSampler(seed=seed),
        )  # fmt: skip
        left = space.n_trials
        done = [one for one in study.get_trials(deepcopy=False) if one.state.is_finished()]
        for number in range(len(done), len(done) + max(0, left - len(done))):
            # a sampler of its own for every trial: what is drawn depends on the trials before, not on a restart
            study.sampler = optuna.samplers.TPESampler(seed=seed + number, n_startup_trials=min(5, space.n_trials))
            trial = study.ask()
            drawn = {one.name: _drawn(trial, one) for one in space.parameters}
            try:
                value = float(evaluate(drawn))
            except ClaimedMedError:
                value = math.nan
            if math.isfinite(value):
                study.tell(trial, value)
            else:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
        finished = [one for one in study.get_trials(deepcopy=False) if one.state.is_finished()][: space.n_trials]
    listed = [
        {"number": number, "parameters": dict(one.params), "value": one.value, "state": one.state.name.lower()}
        for number, one in enumerate(finished)
    ]
    good = [one for one in listed if one["value"] is not None]
    if not good:
        raise ModelError("search", "no trial gave a value", got=f"{len(listed)} trials", do="see a single training run")
    sign = 1 if space.direction == "maximize" else -1
    best = max(good, key=lambda one: (sign * one["value"], -one["number"]))
    return {"best": best["parameters"], "value": best["value"], "objective": space.objective, "trials": listed}


def _drawn(trial: Any, one: Any) -> Any:
    if one.type == "categorical":
        return trial.suggest_categorical(one.name, list(one.choices))
    if one.type == "int":
        return trial.suggest_int(one.name, int(one.low), int(one.high), log=one.log)
    return trial.suggest_float(one.name, one.low, one.high, log=one.log)


def _storage(file: Path | None) -> Any:
    if file is None:
        return None
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    file.parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(str(file)))
