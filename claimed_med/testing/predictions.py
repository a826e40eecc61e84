"""Tables of predictions of a model that does not exist, about nobody: with and without a planted change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

_SCANNERS, _SHARES = ("Alpha 3", "Beta 1", "Gamma X"), (0.6, 0.3, 0.1)
_N_EMBEDDING = 8


@dataclass(frozen=True)
class Change:
    """What is different in the planted rows.

    Attributes:
        new_scanner: Part of the cases that come from a scanner nobody has seen.
        intensity: Factor on the mean intensity, as a wrong window gives it.
        age_years: Years added to every age.
        prevalence: Part of the cases that are positive.
        missed_women: Part of the ill women whom the model misses in addition.
    """

    new_scanner: float = 0.0
    intensity: float = 1.0
    age_years: float = 0.0
    prevalence: float = 0.4
    missed_women: float = 0.0


def table(n_rows: int, seed: int, change: Change | None = None, *, start: str = "2026-01-01") -> pd.DataFrame:
    """Predictions with truth, one every hour.

    Args:
        n_rows: Cases, each of another patient.
        seed: Of the generator.
        change: From the population of the reference; None for none.
        start: Time of the first case.
    """
    told = change or Change()
    generator = np.random.default_rng(seed)
    ill = generator.random(n_rows) < told.prevalence
    sex = generator.choice(["F", "M"], n_rows)
    pull = generator.normal(1.6 * ill - 0.8, 1.0)
    missed = ill & (sex == "F") & (generator.random(n_rows) < told.missed_women)
    score = 1 / (1 + np.exp(-np.where(missed, -np.abs(pull), pull)))
    scanner = generator.choice(_SCANNERS, n_rows, p=_SHARES)
    scanner = np.where(generator.random(n_rows) < told.new_scanner, "Delta 9", scanner)
    age = np.clip(generator.normal(58, 15, n_rows) + told.age_years, 0, 100).round()
    intensity = generator.normal(0.5, 0.08, n_rows) * told.intensity
    embedding = generator.normal(size=(n_rows, _N_EMBEDDING))
    embedding[:, 0] += 1.5 * ill + (intensity - 0.5) / 0.08
    return pd.DataFrame(
        {
            "time": pd.date_range(start, periods=n_rows, freq="h", tz="UTC").astype(str),
            "case": [f"{seed:04d}-{one:06d}" for one in range(n_rows)],
            "patient_key": [f"p{seed:04d}{one:06d}" for one in range(n_rows)],
            "model_digest": "0" * 64,
            "score": score,
            "predicted": np.where(score >= 0.5, "ill", "well"),
            "positive": "ill",
            "threshold": 0.5,
            "label": np.where(ill, "ill", "well"),
            "outcome": "done",
            "sex": sex,
            "age": age,
            "age_band": np.where(age < 40, "0-39", np.where(age < 60, "40-59", np.where(age < 75, "60-74", "75-"))),
            "scanner": scanner,
            "intensity_mean": intensity,
            **{f"embedding_{one}": embedding[:, one] for one in range(_N_EMBEDDING)},
        }
    )


def reference(folder: Path) -> Path:
    """Write predictions from before, as `table.parquet`."""
    return _write(table(400, 1), folder)


def deployed(folder: Path) -> Path:
    """Write predictions of a deployed model: 200 cases like the reference, 200 with a new scanner, women missed."""
    later = table(200, 3, Change(new_scanner=0.5, missed_women=0.6), start="2026-02-01")
    return _write(pd.concat([table(200, 2), later], ignore_index=True), folder)


def site_results(folder: Path) -> Path:
    """Write predictions with the site that each comes from; the last site has few."""
    rows = table(300, 4)
    rows["site"] = np.where(np.arange(300) >= 296, "Delta", np.asarray(["Alpha", "Beta", "Gamma"])[np.arange(300) % 3])
    return _write(rows, folder)


def site_places(folder: Path) -> Path:
    """Write where these sites would be."""
    places = {"site": ["Alpha", "Beta", "Gamma", "Delta"], "latitude": [47.4, 48.2, 52.5, 45.5]}
    return _write(pd.DataFrame({**places, "longitude": [8.5, 16.4, 13.4, 9.2]}), folder)


def record(path: Path) -> Path:
    """Write the predictions of `deployed` as the record of a server."""
    from claimed_med.prediction_log import Prediction, PredictionLog

    told = pd.concat([table(200, 2), table(200, 3, Change(new_scanner=0.5), start="2026-02-01")], ignore_index=True)
    embedding = told[[f"embedding_{one}" for one in range(_N_EMBEDDING)]].to_numpy()
    log = PredictionLog(str(path))
    log.append(
        Prediction(
            prediction_id=row.case, at=pd.Timestamp(row.time).timestamp(), patient_key=row.patient_key,
            sop_key=row.case, model_digest=row.model_digest, score=row.score, decision=row.predicted,
            positive=row.positive, threshold=row.threshold, truth=row.label, embedding=numbers,
            attributes={"sex": row.sex, "age_band": row.age_band, "scanner": row.scanner},
            features={"age": row.age, "intensity_mean": row.intensity_mean},
        )
        for row, numbers in zip(told.itertuples(), embedding, strict=True)
    )  # fmt: skip
    log.close()
    return path


def _write(rows: pd.DataFrame, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_parquet(folder / "table.parquet", index=False)
    return folder
