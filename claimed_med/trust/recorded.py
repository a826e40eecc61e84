"""The record of a deployed model's predictions as the table that monitoring reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from claimed_med.errors import InputError
from claimed_med.prediction_log import Prediction, PredictionLog
from claimed_med.trust.monitoring import DONE

_DAY_S = 86_400.0
_WHERE = "load-predictions"


def table(url: str, model_digest: str, last_days: float, last_cases: int, *, since: float = 0.0) -> pd.DataFrame:
    """The predictions of one model, oldest first.

    Args:
        url: As `PredictionLog` takes it.
        model_digest: Of the model; '' for the one that answered last.
        last_days: At most so much older than the newest [days]; 0 for all.
        last_cases: At most so many; 0 for all.
        since: None that are older than this [s since 1970, UTC].

    Raises:
        InputError: The record is not there, cannot be read, or holds no such prediction.
    """
    if not url or ("://" not in url and not Path(url).is_file()):
        raise InputError(
            _WHERE, "there is no record at this address", do="set --url as `claimed-med serve --log` has it"
        )
    log = PredictionLog(url)
    try:
        newest = log.read(model_digest=model_digest, last=1)
        if not newest:
            raise InputError(_WHERE, "the record holds no such prediction", do="check model_digest, or wait")
        since = max(since, newest[0].at - last_days * _DAY_S if last_days else 0.0)
        found = log.read(since=since, model_digest=newest[0].model_digest, last=last_cases)
    finally:
        log.close()
    return pd.DataFrame([_row(one) for one in found])


def _row(one: Prediction) -> dict[str, Any]:
    told: dict[str, Any] = {
        "time": pd.Timestamp(one.at, unit="s", tz="UTC").isoformat(),
        "case": one.prediction_id,
        "unit_key": one.unit_key,
        "patient_key": one.patient_key,
        "sop_key": one.sop_key,
        "model_digest": one.model_digest,
        "variant": one.variant,
        "score": one.score,
        "predicted": one.decision,
        "positive": one.positive,
        "threshold": one.threshold,
        "label": one.truth or None,
        "outcome": DONE if one.outcome == "answered" else one.reason or one.outcome,
    }
    told |= {name: None if value == "unknown" else value for name, value in one.attributes.items()}
    told |= dict(one.features)
    return told | {f"embedding_{number}": value for number, value in enumerate(one.embedding)}
