"""Take over a deployed model's predictions from the server's record."""

from __future__ import annotations

from typing import Annotated

from claimed_med.component import Address, Interval, component
from claimed_med.handles import Table


@component(
    version="1.0.0",
    tags=("monitoring", "predictions"),
    example={"url": "@predictions"},
)
def load_predictions(
    *,
    url: Annotated[str, Address()] = "",
    model_digest: str = "",
    last_days: Annotated[float, Interval(0, 36_500)] = 0.0,
    last_cases: Annotated[int, Interval(0, 10_000_000)] = 0,
) -> Table:
    """Take over a deployed model's predictions from the server's record.

    The record holds no patient attribute: patients, studies and images are keyed hashes. Names are those that
    measure-drift and measure-bias-over-time read.

    Args:
        url: The record: a path of an SQLite file, or postgresql://host/database.
        model_digest: Of one model; '' for the model that answered last.
        last_days: Only what is at most so old [days], counted from the newest prediction; 0 for everything.
        last_cases: Only so many, the newest; 0 for all.

    Returns:
        predictions: One row a case, oldest first: time, patient_key, sop_key, model_digest, variant, score, predicted,
            positive, threshold, label (the truth; empty where it is not known yet), outcome (`done`, or why the case
            was refused), attributes, features, embedding_*.

    Raises:
        InputError: The record cannot be read, or holds no such prediction.
        ContractError: The address is of another kind.
    """
    from claimed_med.trust.recorded import table

    return Table(table(url, model_digest, last_days, last_cases))
