"""
How fast each deployment answered lately.

Two averages of its answers' seconds, a usual one and one that is sensitive to peaks. Both follow a faster answer by the
time that has passed: after `DECAY_SECONDS` without news, what was known before weighs 1/e. A slower answer lifts the
peak to its own height at once, so that one that slows down loses traffic with its first slow answer; from there it
sinks to the usual one, with the same time constant, while nothing is heard. The usual one stays where it is while
nothing is heard: whether a deployment has recovered is for exploration to find out, not for time.

A failure that came quickly says nothing about how long answers take; one that took longer than was expected does.

Source: Finagle's peak EWMA (as described by tower::load::PeakEwma, docs.rs/tower 0.4, read 2026-11-20): sensitive to
the worst, sinking to the moving average. Its in-flight weighting is in `scoring`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from providers.contract import Clock

DECAY_SECONDS = 5.0

#: However close together answers come, the last sixteen say most of what is usual.
MOST_WEIGHT_OF_PAST = 15 / 16

#: How many answers the percentile is taken of at most, at least, and how old they may be.
KEPT_ANSWERS = 128
FEWEST_ANSWERS = 20
OLDEST_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How a deployment did lately, at a moment."""

    expected_seconds: float | None = None
    """What an answer takes, peaks weighing most; None while nobody knows."""
    idle_seconds: float = math.inf
    """Since a call to it ended; infinite where none has."""
    usual_seconds: float | None = None
    """What an answer usually takes, peaks weighing no more than others; None while nobody knows."""


UNKNOWN = Pace()


class Latency:
    """The history of one deployment, in bounded memory."""

    def __init__(self, clock: Clock) -> None:
        """Know nothing."""
        self._clock = clock
        self._usual: float | None = None
        self._peak = 0.0
        self._measured_at = 0.0
        self._ended_at = -math.inf
        self._answers: deque[tuple[float, float]] = deque(maxlen=KEPT_ANSWERS)

    def note(self, seconds: float, *, ok: bool) -> None:
        """
        Count a call that has ended.

        Args:
            seconds: from its beginning to its end.
            ok: whether it brought an answer.
        """
        now = self._clock()
        self._ended_at = now
        if ok:
            self._answers.append((now, seconds))
        expected = self._expected(now)
        if ok or (expected is not None and seconds > expected):
            self._measure(seconds, expected, now)

    def pace(self) -> Pace:
        """Return how it does, as far as is known now."""
        now = self._clock()
        return Pace(self._expected(now), now - self._ended_at, self._usual)

    def p95_seconds(self) -> float | None:
        """Return what 95 of 100 late answers took at most; None while there are too few of them."""
        since = self._clock() - OLDEST_SECONDS
        answers = sorted(seconds for at, seconds in self._answers if at >= since)
        if len(answers) < FEWEST_ANSWERS:
            return None
        return answers[math.ceil(0.95 * len(answers)) - 1]

    def _expected(self, now: float) -> float | None:
        """Return the peak, as far as it has sunk to what is usual."""
        if self._usual is None:
            return None
        return self._usual + (self._peak - self._usual) * math.exp(-(now - self._measured_at) / DECAY_SECONDS)

    def _measure(self, seconds: float, expected: float | None, now: float) -> None:
        if self._usual is None or expected is None:
            self._usual = self._peak = seconds
        else:
            past = math.exp(-(now - self._measured_at) / DECAY_SECONDS)
            self._peak = seconds if seconds >= expected else seconds + (expected - seconds) * past
            self._usual = seconds + (self._usual - seconds) * min(past, MOST_WEIGHT_OF_PAST)
        self._measured_at = now


class LatencyTable:
    """The history of every deployment, by name."""

    def __init__(self, names: Iterable[str], clock: Clock) -> None:
        """Know nothing of any."""
        self._clock = clock
        self._histories = {name: Latency(clock) for name in names}

    def __getitem__(self, name: str) -> Latency:
        """Return the history of one deployment."""
        return self._histories[name]

    def paces(self, names: Iterable[str]) -> dict[str, Pace]:
        """Return how these do."""
        return {name: self._histories[name].pace() for name in names}

    def renewed(self, names: Iterable[str], *, afresh: Collection[str] = ()) -> LatencyTable:
        """Return a table of these that shares the histories of those that are here, but of whom begins *afresh*."""
        table = LatencyTable(names, self._clock)
        for name in table._histories.keys() & self._histories.keys() - set(afresh):
            table._histories[name] = self._histories[name]
        return table
