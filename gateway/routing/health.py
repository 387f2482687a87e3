"""
What each deployment did lately, and whether it may be asked now.

The breaker is a small state machine over outcomes and a clock:

    closed     asked freely; 5 failures in a row open it, and so does a denial (key, permission, credit) at once
    open       not asked; for 30 s x the number of times in a row it opened, at most 300 s, plus up to 10 % of chance;
               after "too many requests" for as long as its `Retry-After` says, or 1 s
    half open  one probe is asked on real traffic; its success closes, its failure opens again

Source of the figures: Envoy's outlier detection (5 in a row, 30 s x n, at most 300 s), envoyproxy/envoy
outlier_detection.proto, read 2026-11.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from providers.contract import Clock, Outcome, ProviderError

FAILURES_TO_OPEN = 5
EJECTION_SECONDS = 30.0
LONGEST_EJECTION_SECONDS = 300.0
JITTER = 0.1

#: How long a deployment that says "too many" without saying until when is left alone.
PAUSE_SECONDS = 1.0
#: What a caller is told to wait while a probe is under way.
PROBE_SECONDS = 1.0


class BreakerState(StrEnum):
    """The three states."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class HealthView:
    """One deployment's health at a moment, for ranking and for `GET /v1/deployments`."""

    state: BreakerState
    reason: str | None
    """Why it is not closed."""
    retry_after_seconds: float
    """Until it may be asked again; 0 when it may be asked now."""
    in_flight: int


class Call:
    """One call that the breaker let through; it ends exactly once, in one of three ways."""

    __slots__ = ("_health", "_probe")

    def __init__(self, health: Health, *, probe: bool) -> None:
        """Belong to *health*; a *probe* decides whether it closes again."""
        self._health = health
        self._probe = probe

    def succeeded(self) -> None:
        """Say that it answered."""
        self._health.end(probe=self._probe, error=None)

    def failed(self, error: ProviderError) -> None:
        """Say how it failed. A refusal is an answer: the request was at fault, not the deployment."""
        self._health.end(probe=self._probe, error=None if error.outcome is Outcome.REFUSED else error)

    def abandoned(self) -> None:
        """Take it back: it was cancelled, and says nothing about the deployment."""
        self._health.abandon(probe=self._probe)


class Health:
    """The breaker and the counters of one deployment."""

    def __init__(self, clock: Clock, chance: random.Random) -> None:
        """Start closed."""
        self._clock = clock
        self._chance = chance
        self._failures = 0
        self._ejections = 0
        self._open_until = 0.0
        self._reason: str | None = None
        self._probing = False
        self._in_flight = 0

    def view(self) -> HealthView:
        """Return what the router has to know."""
        wait = max(0.0, self._open_until - self._clock())
        if self._reason is None:
            return HealthView(BreakerState.CLOSED, None, 0.0, self._in_flight)
        if wait > 0 or self._probing:
            return HealthView(BreakerState.OPEN, self._reason, wait or PROBE_SECONDS, self._in_flight)
        return HealthView(BreakerState.HALF_OPEN, self._reason, 0.0, self._in_flight)

    def begin(self) -> Call | None:
        """Count a call that is about to be made; None when the breaker does not let it through."""
        state = self.view().state
        if state is BreakerState.OPEN:
            return None
        probe = state is BreakerState.HALF_OPEN
        self._probing = self._probing or probe
        self._in_flight += 1
        return Call(self, probe=probe)

    def end(self, *, probe: bool, error: ProviderError | None) -> None:
        """Count how a call ended; `Call` says it."""
        self.abandon(probe=probe)
        if error is None:
            # A late success of a call from before it opened does not close it: the probe does.
            if probe or self._reason is None:
                self._failures = self._ejections = 0
                self._open_until, self._reason = 0.0, None
        elif error.outcome is Outcome.OVERLOADED:
            asked = PAUSE_SECONDS if error.retry_after_seconds is None else error.retry_after_seconds
            self._open(min(asked, LONGEST_EJECTION_SECONDS), error.message)
        else:
            self._failures += 1
            if probe or (self._reason is None and self._opens(error)):
                self._ejections += 1
                seconds = min(EJECTION_SECONDS * self._ejections, LONGEST_EJECTION_SECONDS)
                self._open(seconds * (1 + JITTER * self._chance.random()), error.message)

    def abandon(self, *, probe: bool) -> None:
        """Count a call out; `Call` says it."""
        self._in_flight -= 1
        if probe:
            self._probing = False

    def _opens(self, error: ProviderError) -> bool:
        return error.outcome is Outcome.DENIED or self._failures >= FAILURES_TO_OPEN

    def _open(self, seconds: float, reason: str) -> None:
        self._open_until = max(self._open_until, self._clock() + seconds)
        self._reason = reason


class HealthTable:
    """The health of every deployment, by name."""

    def __init__(self, names: Iterable[str], clock: Clock, chance: random.Random) -> None:
        """Start with all of them closed."""
        self._health = {name: Health(clock, chance) for name in names}

    def __getitem__(self, name: str) -> Health:
        """Return the health of one deployment."""
        return self._health[name]

    def views(self) -> dict[str, HealthView]:
        """Return every deployment's view, by name."""
        return {name: health.view() for name, health in self._health.items()}
