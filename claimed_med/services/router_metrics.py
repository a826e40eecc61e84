"""What Prometheus may know of the router: counts by state and destination, read from the state file when asked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claimed_med.services.router_state import State

_PER_DESTINATION = {
    "objects": "Objects that go to the destination",
    "stored": "Objects that are there",
    "sends": "Objects put on the wire",
    "repeats": "Objects put on the wire again",
}


class RouterCollector(Collector):
    """The metrics of a state file."""

    def __init__(self, state: State) -> None:
        self.state = state

    def collect(self) -> Iterator[Any]:
        """The metrics now."""
        totals = self.state.totals()
        studies = GaugeMetricFamily("claimed_med_router_studies", "Studies by state", labels=["state"])
        for state, count in totals["studies"].items():
            studies.add_metric([state], count)
        yield studies
        for name, words in (
            ("objects", "Objects received"),
            ("repeats_received", "Objects that were sent to us again"),
            ("conflicts", "Objects with other bytes under a known SOPInstanceUID, kept aside"),
        ):
            yield CounterMetricFamily(f"claimed_med_router_{name}", words, value=totals[name])
        for name, words in _PER_DESTINATION.items():
            family = CounterMetricFamily(f"claimed_med_router_delivery_{name}", words, labels=["destination"])
            for one in totals["deliveries"]:
                family.add_metric([one["destination"]], one[name])
            yield family
        waiting = self.state.studies("received", "complete", "running")
        oldest = max((time.time() - one.last_at for one in waiting), default=0.0)
        yield GaugeMetricFamily(
            "claimed_med_router_oldest_seconds", "Since the last object of the study that waits longest", value=oldest
        )
