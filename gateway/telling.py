"""What the operator is told of a deployment beside its calls: a line of the log, or a series to raise alarms by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gateway.accounting import HeldAttempt, Resolution, Result
from gateway.accounting.drift import Drift
from gateway.routing.health import Cause, Change
from gateway.routing.probing import FreeProbeResult
from gateway.telemetry.metrics import Metrics
from providers.contract import Money


class Telling:
    """Tells of breakers, prices and holds, in the middle of a request as well: it waits for nothing."""

    def __init__(self, metrics: Metrics, log: Any) -> None:
        """Tell *metrics* and *log*."""
        self._metrics = metrics
        self._log = log
        self._beyond: set[str] = set()

    def breaker(self, change: Change) -> None:
        """Tell that a breaker has opened, stays open for longer, or has closed."""
        if change.cause is None:
            self._log.info("deployment_closed", deployment=change.deployment)
            return
        self._metrics.opened(change.deployment, change.cause.value)
        note = self._log.info if change.cause is Cause.OVERLOADED else self._log.warning
        note(
            "deployment_opened",
            deployment=change.deployment,
            cause=change.cause.value,
            seconds=round(change.seconds, 3),
        )

    def free_probe(self, deployment: str, result: FreeProbeResult, reason: str | None) -> None:
        """Tell what a deployment that was out answered to a free question, and why where that was no good word."""
        self._metrics.free_probe(deployment, result.value)
        self._log.info("free_probe", deployment=deployment, result=result.value, reason=reason)

    def drift(self, drift: Drift) -> None:
        """Tell that a provider bills other than it publishes, or no longer does."""
        self._metrics.drift_alarm(drift.deployment, on=drift.alarmed)
        note = self._log.warning if drift.alarmed else self._log.info
        note(
            "price_drift",
            deployment=drift.deployment,
            alarmed=drift.alarmed,
            percent=drift.percent,
            calls=drift.calls,
            reported_microusd=drift.reported.microusd,
            listed_microusd=drift.listed.microusd,
        )

    def uncharged(self, deployment: str, amount: Money) -> None:
        """Tell what a call came to beyond what was reserved for it: counted each time, logged once a deployment."""
        self._metrics.uncharged(deployment, amount.microusd)
        if deployment not in self._beyond:
            self._beyond.add(deployment)
            self._log.warning(
                "charge_capped",
                deployment=deployment,
                uncharged_microusd=amount.microusd,
                remedy="calls cost more than is reserved for them: raise longest_seconds or the price",
            )

    def reconciled(self, held: HeldAttempt, result: Result, resolution: Resolution) -> None:
        """Tell what came of a question about an attempt on hold, and what was charged for it after all."""
        self._metrics.reconciled(held.deployment, held.provider, result.value, charged=resolution.charge.microusd)
        if resolution.uncharged.microusd:
            self.uncharged(held.deployment, resolution.uncharged)

    def no_drift(self, deployments: Iterable[str]) -> None:
        """Have the alarms of these deployments be off: of those that are watched anew, and of those that are gone."""
        for name in deployments:
            self._metrics.drift_alarm(name, on=False)
