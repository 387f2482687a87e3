"""
Every Prometheus series, named in one place.

Labels come from closed sets: the configuration's deployments and our own enums. A label that a caller could choose
would be a way to fill our memory.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterable, Mapping
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

from providers.contract import Outcome

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
#: How often other processes' files are read until none of them is empty.
READINGS = 20


class Metrics:
    """The gateway's series, in a registry of their own: two gateways stand side by side in one process."""

    def __init__(self) -> None:
        """Register every series."""
        self._registry = CollectorRegistry()
        self._ever_open: set[str] = set()
        self._ever_there: set[str] = set()
        self._requests = Counter(
            "maskgate_requests",
            "Answers given, by outcome (`ok` or a problem's code)",
            ["outcome"],
            registry=self._registry,
        )
        self._request_seconds = Histogram(
            "maskgate_request_seconds",
            "From the request's first byte to its answer",
            buckets=SECONDS,
            registry=self._registry,
        )
        self._attempts = Counter(
            "maskgate_attempts",
            "Calls to deployments, by how they ended",
            ["deployment", "outcome"],
            registry=self._registry,
        )
        self._attempt_seconds = Histogram(
            "maskgate_attempt_seconds", "Duration of one call", ["deployment"], buckets=SECONDS, registry=self._registry
        )
        self._cache = Counter("maskgate_cache", "Questions, by what the cache did", ["result"], registry=self._registry)
        self._shared_cache = Counter(
            "maskgate_shared_cache",
            "Looks into the cache in Redis and writes to it, by what came of them",
            ["result"],
            registry=self._registry,
        )
        self._spend = Counter(
            "maskgate_spend_micros", "Micro-dollars charged to tenants", ["provider"], registry=self._registry
        )
        self._held = Counter(
            "maskgate_held_micros",
            "Micro-dollars put on hold, not knowing whether they are owed",
            ["provider"],
            registry=self._registry,
        )
        self._drift = Counter(
            "maskgate_price_drift_micros",
            "Micro-dollars by which reported and list price differ, either way",
            ["deployment"],
            registry=self._registry,
        )
        self._uncharged = Counter(
            "maskgate_uncharged_micros",
            "Micro-dollars that calls came to beyond what was reserved for them, and that no tenant was charged",
            ["deployment"],
            registry=self._registry,
        )
        self._drift_alarm = Gauge(
            "maskgate_price_drift_alarm",
            "1 while what a provider reports differs from its list price by more than is tolerated",
            ["deployment"],
            registry=self._registry,
            multiprocess_mode="livemax",
        )
        self._budgets = Counter(
            "maskgate_budgets_passed",
            "Requests that passed a soft budget or were refused by a hard one, by what it bounds and for how long",
            ["scope", "period"],
            registry=self._registry,
        )
        self._webhooks = Counter(
            "maskgate_webhook_attempts",
            "Attempts to tell the budgets' webhook, taken by its receiver or failed",
            ["result"],
            registry=self._registry,
        )
        self._denied = Counter(
            "maskgate_upstream_denied",
            "Calls refused for our account's sake (key, permission, credit): somebody has to act",
            ["deployment"],
            registry=self._registry,
        )
        self._reconciled = Counter(
            "maskgate_reconciliations",
            "Questions about attempts on hold, by what came of them",
            ["deployment", "result"],
            registry=self._registry,
        )
        self._callbacks = Counter(
            "maskgate_callbacks",
            "Callbacks of upstreams, by what became of them",
            ["deployment", "notice"],
            registry=self._registry,
        )
        self._saved = Counter("maskgate_saved_micros", "Micro-dollars that the cache saved", registry=self._registry)
        self._open = Gauge(
            "maskgate_deployment_open",
            "1 while a deployment's breaker keeps traffic away, 0 once it does no longer",
            ["deployment"],
            registry=self._registry,
            multiprocess_mode="livemax",
        )
        self._in_flight = Gauge(
            "maskgate_requests_in_flight",
            "Requests being worked on",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._gate = Gauge(
            "maskgate_gate",
            "Requests: how many are worked on at once at most (`limit`), and how many wait for that (`waiting`)",
            ["count"],
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._held_bytes = Gauge(
            "maskgate_bytes_in_flight",
            "Bytes of requests and fetched pictures: held at once at most (`limit`), held now (`taken`); and requests"
            " that wait for room (`waiting`)",
            ["count"],
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._places = Gauge(
            "maskgate_deployment_places",
            "Calls to a deployment: how many are under way at once at most (`limit`), and how many wait (`waiting`)",
            ["deployment", "count"],
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._cache_bytes = Gauge(
            "maskgate_cache_bytes",
            "What the in-process cache holds",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._ledger = Gauge(
            "maskgate_ledger",
            "The ledger's own counts: operations, transactions, parked endings",
            ["count"],
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._openings = Counter(
            "maskgate_deployment_openings",
            "Times that a deployment's breaker opened or stayed open for longer, by why",
            ["deployment", "cause"],
            registry=self._registry,
        )
        self._free_probes = Counter(
            "maskgate_free_probes",
            "Free questions to deployments whose ejection had run out, by what came of them",
            ["deployment", "result"],
            registry=self._registry,
        )
        self._shortages = Counter(
            "maskgate_own_resource_shortages",
            "Times that this machine had none left of something that a request or a call needed, by what",
            ["resource"],
            registry=self._registry,
        )
        self._dropped_lines = Counter(
            "maskgate_log_lines_dropped",
            "Lines of the log that could not be written: the disk is full, or their reader has gone",
            registry=self._registry,
        )
        self._reloads = Counter(
            "maskgate_config_reloads",
            "Readings of the configuration while the gateway ran, by what came of them",
            ["result"],
            registry=self._registry,
        )
        self._configured_at = Gauge(
            "maskgate_config_last_success_timestamp_seconds",
            "When the configuration that holds was taken over, at the start or since; of several processes the oldest",
            registry=self._registry,
            multiprocess_mode="livemin",
        )
        # What every request counts: to look a series up by its labels takes longer than to count in it.
        self._requests_of = cache(self._requests.labels)
        self._attempts_of = cache(self._attempts.labels)
        self._attempt_seconds_of = cache(self._attempt_seconds.labels)
        self._spend_of = cache(self._spend.labels)
        self._cache_of = cache(self._cache.labels)

    def request(self, outcome: str, seconds: float) -> None:
        """Count an answer."""
        self._requests_of(outcome).inc()
        self._request_seconds.observe(seconds)

    def attempt(
        self, deployment: str, provider: str, outcome: Outcome, *, seconds: float, charged: int, held: int
    ) -> None:
        """Count a call: how it ended, how long it took, and the micro-dollars charged and held for it."""
        self._attempts_of(deployment, outcome.value).inc()
        self._attempt_seconds_of(deployment).observe(seconds)
        if charged:
            self._spend_of(provider).inc(charged)
        if held:
            self._held.labels(provider).inc(held)
        if outcome is Outcome.DENIED:
            self._denied.labels(deployment).inc()

    def cache(self, result: str, saved_microusd: int = 0) -> None:
        """Count what the cache did, and what it saved."""
        self._cache_of(result).inc()
        if saved_microusd:
            self._saved.inc(saved_microusd)

    def shared_cache(self, result: str) -> None:
        """Count a look into the cache in Redis, or a write to it."""
        self._shared_cache.labels(result).inc()

    def reconciled(self, deployment: str, provider: str, result: str, *, charged: int) -> None:
        """Count a question about an attempt on hold, and the micro-dollars charged for it after all."""
        self._reconciled.labels(deployment, result).inc()
        if charged:
            self._spend_of(provider).inc(charged)

    def callback(self, deployment: str, notice: str) -> None:
        """Count a callback to a deployment's address."""
        self._callbacks.labels(deployment, notice).inc()

    def drifted(self, deployment: str, microusd: int) -> None:
        """Count the difference between reported and list price."""
        if microusd:
            self._drift.labels(deployment).inc(abs(microusd))

    def uncharged(self, deployment: str, microusd: int) -> None:
        """Count what a call came to beyond what was reserved for it."""
        self._uncharged.labels(deployment).inc(microusd)

    def drift_alarm(self, deployment: str, *, on: bool) -> None:
        """Say whether a deployment's provider reports other prices than it publishes."""
        self._drift_alarm.labels(deployment).set(on)

    def webhook(self, *, taken: bool) -> None:
        """Count an attempt to tell the budgets' webhook."""
        self._webhooks.labels("taken" if taken else "failed").inc()

    def budget(self, scope: str, period: str) -> None:
        """Count a budget that was passed, or that refused."""
        self._budgets.labels(scope, period).inc()

    def opened(self, deployment: str, cause: str) -> None:
        """Count a breaker that opened or stays open for longer."""
        self._openings.labels(deployment, cause).inc()

    def free_probe(self, deployment: str, result: str) -> None:
        """Count a free question to a deployment that was out."""
        self._free_probes.labels(deployment, result).inc()

    def shortage(self, resource: str) -> None:
        """Count something that this machine had run out of when it was needed."""
        self._shortages.labels(resource).inc()

    def log_line_dropped(self) -> None:
        """Count a line of the log that could not be written."""
        self._dropped_lines.inc()

    def reloaded(self, result: str) -> None:
        """Count a reading of the configuration."""
        self._reloads.labels(result).inc()

    def configured(self, at: float) -> None:
        """Note when a configuration was taken over or found to hold, in seconds since 1970, UTC."""
        self._configured_at.set(at)

    def text(
        self,
        *,
        open_deployments: Iterable[str],
        in_flight: int,
        cache_bytes: int,
        ledger: Mapping[str, int],
        gate: tuple[int, int] | None = None,
        held_bytes: tuple[int, int, int] = (0, 0, 0),
        places: Mapping[str, tuple[int, int]] | None = None,
    ) -> bytes:
        """
        Return everything in Prometheus' text format, with the gauges as they are now.

        Args:
            open_deployments: whose breakers keep traffic away.
            in_flight: requests being worked on.
            cache_bytes: what the in-process cache holds.
            ledger: its counts, by name.
            gate: how many requests are worked on at once at most, and how many wait.
            held_bytes: at most, taken, and how many requests wait for room.
            places: the same of each deployment's calls, by its name.
        """
        now_open = set(open_deployments)
        self._ever_open |= now_open
        for deployment in self._ever_open:  # several processes share their series in files, which nothing takes out of
            self._open.labels(deployment).set(deployment in now_open)
        self._in_flight.set(in_flight)
        if gate is not None:
            self._gate.labels("limit").set(gate[0])
            self._gate.labels("waiting").set(gate[1])
        for count, number in zip(("limit", "taken", "waiting"), held_bytes, strict=True):
            self._held_bytes.labels(count).set(number)
        now_there = places or {}
        self._ever_there |= now_there.keys()
        for deployment in self._ever_there:
            limit, waiting = now_there.get(deployment, (0, 0))
            self._places.labels(deployment, "limit").set(limit)
            self._places.labels(deployment, "waiting").set(waiting)
        self._cache_bytes.set(cache_bytes)
        for name, number in ledger.items():
            self._ledger.labels(name).set(number)
        if MULTIPROCESS_VARIABLE in os.environ:
            return _of_all_processes()
        return generate_latest(self._registry)


def _of_all_processes() -> bytes:
    """
    Add up what every process has written.

    A process that starts makes its files before it fills them; who reads in between finds an empty one and reads again.
    Source: prometheus_client 0.26, mmap_dict.py (`MmapedDict.__init__` opens, then truncates to the first size).
    """
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # prometheus-client has no types for it
    for _ in range(READINGS - 1):
        try:
            return generate_latest(registry)
        except struct.error:
            time.sleep(0.001)
    return generate_latest(registry)
