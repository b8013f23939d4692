"""Metrics: one object, built once and passed to whoever counts. Nothing registers itself anywhere else."""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST.partition("; charset")[0]
"""Of `Metrics.render`, whose text is UTF-8."""
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
UNITS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """What the hub counts. Label values are names from our own code, never from a request."""

    def __init__(self, *, process: bool = True) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        if process:
            ProcessCollector(registry=self.registry)
            PlatformCollector(registry=self.registry)
        self._requests = self._counter("http_requests", "Requests answered.", "method", "route", "status")
        self._latency = self._histogram("http_request_seconds", "Time to answer a request.", SECONDS, "route")
        self.refused = self._counter("http_refused", "Requests refused before they did anything.", "code")
        self.batch_units = self._histogram("batch_units", "Units committed together.", UNITS, "batch")
        self.jobs = self._counter("jobs", "Jobs that ended, by what became of them.", "kind", "outcome")
        self.job_seconds = self._histogram("job_perform_seconds", "Time to perform one job.", SECONDS, "kind")
        self.job_wait = self._histogram("job_wait_seconds", "Time from due to claimed.", SECONDS, "lane")
        self.backlog = self._gauge(
            "jobs_waiting", "Jobs in a lane, waiting or under way; counted up to 10,000.", "lane"
        )
        self.lag = self._gauge("follower_lag_seconds", "Age of the oldest event a follower has not read.", "follower")
        self.horizon = self._gauge("event_horizon_seconds", "Age of the oldest open writing transaction.")
        self.events = self._gauge("events_recorded", "Events of each type in the log since it began.", "type")
        self.refusing = self._gauge("ledger_logs_refusing", "Logs that refuse entries until an operator has looked.")
        self.unpublished = self._gauge("ledger_logs_unpublished", "Logs that show less than they hold for too long.")
        self.witness_calls = self._counter("witness_calls", "Checkpoints sent to witnesses, by outcome.", "outcome")
        self.old_keys = self._gauge(
            "keys_under_old_epochs", "Living keys under epochs whose month is over, after the last hourly round."
        )
        self.attempts = self._counter("attempts", "Hand-offs to a vendor, by outcome.", "provider", "outcome")
        self.attempt_seconds = self._histogram("attempt_seconds", "Time a vendor took.", SECONDS, "provider")
        self.callbacks = self._counter("callbacks", "Vendor callbacks, by what became of them.", "provider", "outcome")
        self._answered: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request. `route` is the path template, so that labels stay few."""
        name = (method, route, status)
        found = self._answered.get(name)
        if found is None:
            found = (self._requests.labels(method, route, str(status)), self._latency.labels(route))
            self._answered[name] = found
        found[0].inc()
        found[1].observe(seconds)

    def batch(self, name: str) -> Callable[[int], None]:
        """What a batcher calls with the size of each batch."""
        observe = self.batch_units.labels(name).observe
        return lambda size: observe(size)

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, help_: str, *labels: str) -> Counter:
        return Counter(f"tabellion_{name}", help_, labels, registry=self.registry)

    def _gauge(self, name: str, help_: str, *labels: str) -> Gauge:
        return Gauge(f"tabellion_{name}", help_, labels, registry=self.registry)

    def _histogram(self, name: str, help_: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"tabellion_{name}", help_, labels, buckets=buckets, registry=self.registry)
