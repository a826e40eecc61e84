"""Prometheus metrics of the server. Labels are routes, outcomes, stages and model digests; never an input."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from functools import cache
from typing import Any

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Metric
from prometheus_client.registry import Collector

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

_MOST_NOTED = 64
_noted: deque[tuple[Any, float]] = deque()


def note(histogram: Any, value: float) -> None:
    """Observe a value: kept until there are many or until somebody looks, as one alone takes ten times as long."""
    _noted.append((histogram, value))
    if len(_noted) >= _MOST_NOTED:
        _observe()


def _observe() -> None:
    while True:
        try:
            histogram, value = _noted.popleft()
        except IndexError:  # another thread may have taken the last one
            return
        histogram.observe(value)


class _Noted(Collector):
    """Stands before the histograms in the registry, and has no metric itself."""

    def collect(self) -> Iterable[Metric]:
        """Observe what was noted."""
        _observe()
        return ()

    def describe(self) -> Iterable[Metric]:
        """Nothing."""
        return ()


REGISTRY.register(_Noted())
REQUESTS = Counter("claimed_med_requests", "Requests that were answered", ["route", "status", "variant"])
SECONDS = Histogram("claimed_med_request_seconds", "From arrival to answer", ["route"], buckets=_SECONDS)
STAGE = Histogram("claimed_med_stage_seconds", "Time in a stage", ["stage"], buckets=_SECONDS)
IN_FLIGHT = Gauge("claimed_med_in_flight", "Requests that are being served")
WAITING = Gauge("claimed_med_waiting", "Tasks that wait for the model")
BATCH = Histogram("claimed_med_batch_images", "Images that were computed at once", buckets=(1, 2, 4, 8, 16, 32, 64))
PREDICTIONS = Counter("claimed_med_predictions", "Inputs by outcome", ["outcome", "model_digest", "variant"])
MODEL = Gauge(
    "claimed_med_model_info",
    "1 for every model that is served",
    ["model", "model_digest", "variant", "blessing", "task"],
)
SKIPPED = Counter("claimed_med_skipped_files", "Files of requests that hold nothing to read", ["finding"])
LOST = Counter("claimed_med_lost_lines", "Audit lines that could not be written")
LOST_PICTURES = Counter("claimed_med_lost_pictures", "Pictures of cases that could not be drawn or written")
SWAPS = Counter("claimed_med_swaps", "Models taken over while running", ["outcome"])


@cache
def stage(name: str) -> Any:
    """The times of a stage; there are a dozen stages."""
    return STAGE.labels(name)


@cache
def answers(route: str, status: int, variant: str) -> tuple[Any, Any]:
    """The count and the times of answers of a kind; routes, statuses and variants are few."""
    return REQUESTS.labels(route, str(status), variant), SECONDS.labels(route)


@cache
def predictions(outcome: str, digest: str, variant: str) -> Any:
    """The count of inputs by outcome and model; models are few."""
    return PREDICTIONS.labels(outcome, digest, variant)
