"""Search hyperparameters with Optuna; a search that was killed goes on with the trials that are left."""

from __future__ import annotations

import json
import logging
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from claimed_med.errors import ClaimedMedError, ModelError
from claimed_med.searchspace import Space

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
    kept = _kept(storage)
    listed: list[dict[str, Any]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(direction=space.direction)
        for number in range(space.n_trials):
            # a sampler of its own for every trial: what is drawn depends on the trials before, not on a restart
            study.sampler = optuna.samplers.TPESampler(seed=seed + number, n_startup_trials=min(5, space.n_trials))
            trial = study.ask()
            drawn = {one.name: _drawn(trial, one) for one in space.parameters}
            known = number < len(kept) and kept[number]["parameters"] == drawn
            value = kept[number]["value"] if known else _evaluated(evaluate, drawn)
            if value is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, value)
            state = "failed" if value is None else "complete"
            listed.append({"number": number, "parameters": drawn, "value": value, "state": state})
            if storage is not None and not known:
                with storage.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(listed[-1]) + "\n")
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


def _evaluated(evaluate: Callable[[dict[str, Any]], float], drawn: dict[str, Any]) -> float | None:
    try:
        value = float(evaluate(drawn))
    except ClaimedMedError:
        return None
    return value if math.isfinite(value) else None


def _kept(storage: Path | None) -> list[dict[str, Any]]:
    """The trials of a search that was killed; a last line that is cut off does not count."""
    if storage is None:
        return []
    storage.parent.mkdir(parents=True, exist_ok=True)
    lines = storage.read_text(encoding="utf-8").split("\n")[:-1] if storage.is_file() else []
    return [json.loads(line) for line in lines]
