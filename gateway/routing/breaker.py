"""
Whether a deployment may be asked now: a state machine over outcomes and a clock.

    closed     asked freely. It opens on 5 failures in a row; when half of at least 20 calls within a minute failed;
               when 8 of 10 of them were slow; and at once on a denial (key, permission, credit)
    open       not asked: for 30 s x n, at most 300 s (10 s x n where it was only slow), plus up to 10 % of chance;
               after "too many requests" for as long as its `Retry-After` says, or 1 s
    half open  one probe is asked on real traffic; its success closes, its failure opens again

Between open and half open a free probe has the first word, where there is one: see `first_word.py`. While it is awaited
or under way the breaker stays open; when it fails that is an opening like a probe's that failed. "Too many requests" is
no question for it: whoever says so has been reached.

n counts the times it opened, and falls by one for each minute that it was closed: one that flaps is left alone longer
each time. A probe on real traffic costs what a call costs, and somebody has asked for it: nothing is bought to find
out. A call that began before the breaker opened says nothing about afterwards, however it ends.

When most deployments are out (see `health_view.py`) an open one may be asked before its time. That shortens nothing:
when such a call fails the breaker stays open as long as it would have.

Source of the figures: Envoy's outlier detection (5 in a row, 30 s x n, at most 300 s), envoyproxy/envoy
outlier_detection.proto, read 2026-11. Its other rules compare hosts with each other and need five of them; half of 20
calls is ours, for the two or three deployments that there are.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum

from gateway.routing.first_word import FirstWord
from gateway.routing.health_view import ANSWERING, CONCLUDED, BreakerState, Cause
from gateway.routing.window import Slowness, Window
from gateway.routing.words import own_words
from providers.contract import Clock, Outcome, ProviderError

FAILURES_TO_OPEN = 5
LEAST_CALLS = 20
FAILURE_RATIO = 0.5
SLOW_RATIO = 0.8
EJECTION_SECONDS = 30.0
SLOW_EJECTION_SECONDS = 10.0
LONGEST_EJECTION_SECONDS = 300.0
JITTER = 0.1
#: So long without opening takes one from the number of times that the next ejection is multiplied by.
FORGIVING_SECONDS = 60.0

#: How long a deployment that says "too many" without saying until when is left alone.
PAUSE_SECONDS = 1.0
#: What a caller is told to wait while a probe is under way.
PROBE_SECONDS = 1.0
#: Between two calls before its time, to one that failed again and again.
EARLY_SECONDS = 5.0
#: Of fifty calls that are told to wait at the same moment one is news.
NOTICEABLE_SECONDS = 0.5
#: Within so long one that is open becomes half open, once another replica has seen it well.
SOONER_SECONDS = 1.0


class Passage(Enum):
    """As what a call was let through."""

    PLAIN = "plain"
    PROBE = "probe"
    EARLY = "early"
    """The one call that is made before its time."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A call that was let through."""

    passage: Passage
    era: int
    """How often the breaker had opened before."""


class Breaker:
    """The breaker of one deployment."""

    def __init__(self, clock: Clock, chance: random.Random, *, slow_seconds: float | None = None) -> None:
        """
        Start closed.

        Args:
            clock: monotonic seconds.
            chance: spreads the ends of ejections.
            slow_seconds: calls that take longer are slow; None: `Slowness` finds out.
        """
        self._clock = clock
        self._chance = chance
        self._slowness = Slowness(slow_seconds)
        self._window = Window()
        self._first_word = FirstWord()
        self._plain = Ticket(Passage.PLAIN, 0)
        self._in_a_row = 0
        self._times = 0
        self._probing = False
        self._opened_at = 0.0
        self._closed_at = 0.0
        self._open_until = 0.0
        self._early_at = 0.0
        self.cause: Cause | None = None
        """Why it is not closed."""
        self.reason: str | None = None
        """The same in words, our own: everybody may read them."""
        self.openings = 0
        """Since the start."""
        self.changes = 0
        """How often there was news: it opened, had another cause, stays open for noticeably longer, or closed."""

    @property
    def window(self) -> Window:
        """The calls of the last minute, since it was last closed."""
        self._window.move(self._clock())
        return self._window

    @property
    def state(self) -> BreakerState:
        """Where it stands."""
        if self.cause is None:
            return BreakerState.CLOSED
        now = self._clock()
        if self._probing or now < self._open_until or self._first_word.held(now):
            return BreakerState.OPEN
        return BreakerState.HALF_OPEN

    @property
    def wait_seconds(self) -> float:
        """Until it may be asked; 0 when it may be asked now."""
        if self.state is not BreakerState.OPEN:
            return 0.0
        return max(0.0, self._open_until - self._clock()) or PROBE_SECONDS

    @property
    def early_seconds(self) -> float | None:
        """Until it may be asked before its time; None: not before."""
        if self.cause in ANSWERING:
            return 0.0
        if self.cause is not Cause.FAILING:
            return None
        now = self._clock()
        busy = self._probing or self._first_word.asking(now)
        return PROBE_SECONDS if busy else max(0.0, self._early_at - now)

    @property
    def open_seconds(self) -> float:
        """For how long it has not been closed."""
        return 0.0 if self.cause is None else self._clock() - self._opened_at

    def admit(self, *, early: bool = False) -> Ticket | None:
        """Let a call through, or not (None). An *early* one may come before its time."""
        state = self.state
        if state is BreakerState.CLOSED:
            return self._plain
        if state is BreakerState.HALF_OPEN:
            self._probing = True
            self._first_word.leave()
            return Ticket(Passage.PROBE, self.openings)
        if not early or self.early_seconds != 0.0:
            return None
        if self.cause in ANSWERING:
            return self._plain
        self._probing = True
        return Ticket(Passage.EARLY, self.openings)

    def still_admits(self, ticket: Ticket) -> bool:
        """Whether a call that was let through, and has not been made yet, may still be made."""
        if self.cause is None:
            return True
        match ticket.passage:
            case Passage.PLAIN:
                return ticket.era == self.openings and self.cause in ANSWERING
            case Passage.PROBE:
                return self._clock() >= self._open_until
            case Passage.EARLY:
                return self.cause in CONCLUDED

    def succeeded(self, ticket: Ticket, seconds: float | None) -> None:
        """Count an answer that took so many seconds; None: nobody says how many."""
        self._leave(ticket)
        slow = seconds is not None and self._slowness.note(seconds)
        if ticket.passage is not Passage.PLAIN:
            if slow and self.cause is Cause.SLOW:
                self._eject(Cause.SLOW, f"its calls are slow; the last one took {seconds:.3g} s")
                return
            self._close()
        elif self.cause is not None or ticket.era != self.openings:
            return
        self._in_a_row = 0
        self._window.add(self._clock(), slow=slow)
        if slow and self._most(self._window.slow, SLOW_RATIO):
            words = f"{self._window.slow} of {self._window.calls} calls within a minute were slow; the last one took "
            self._eject(Cause.SLOW, f"{words}{seconds:.3g} s")

    def failed(self, ticket: Ticket, error: ProviderError) -> None:
        """Count a failure."""
        self._leave(ticket)
        now = self._clock()
        if ticket.passage is not Passage.PLAIN:
            self._first_word.decided()
        if error.outcome is Outcome.OVERLOADED:
            self._pause(error, own_words(error))
        elif ticket.passage is Passage.EARLY and now < self._open_until and error.outcome is not Outcome.DENIED:
            self._early_at = now + EARLY_SECONDS
        elif ticket.passage is not Passage.PLAIN:
            self._eject(_cause(error), own_words(error))
        elif self.cause is None and ticket.era == self.openings:
            self._in_a_row += 1
            self._window.add(now, failed=True)
            if error.outcome is Outcome.DENIED or self._in_a_row >= FAILURES_TO_OPEN:
                self._eject(_cause(error), own_words(error))
            elif self._most(self._window.failures, FAILURE_RATIO):
                words = f"{self._window.failures} of {self._window.calls} calls within a minute failed; the last one: "
                self._eject(Cause.UNSTEADY, words + own_words(error))

    def abandoned(self, ticket: Ticket) -> None:
        """Take a call back: it says nothing about the deployment."""
        self._leave(ticket)

    def offer_free_probe(self, *, offered: bool) -> None:
        """Say whether there is somebody who asks something free when an ejection has run out."""
        self._first_word.offered = offered

    def admit_free(self) -> int | None:
        """Let a free probe through, or not (None): only once an ejection has run out, and nothing else finds out."""
        now = self._clock()
        if self.cause is None or self._probing or now < self._open_until or not self._first_word.due(now):
            return None
        return self._first_word.ask(now)

    def free_ended(self, number: int, error: ProviderError | None) -> None:
        """Count how that free probe ended: half open where it passed, ejected again where it failed."""
        if not self._first_word.ended(number, failed=error is not None):
            return
        if error is None:
            self.reason = f"{self.reason}; a free probe has passed since, and one call is to find out"
        elif error.outcome is Outcome.OVERLOADED:
            self._pause(error, f"a free probe failed: {own_words(error)}")
        else:
            self._eject(_cause(error), f"a free probe failed: {own_words(error)}")

    def sooner(self) -> None:
        """Become half open within a moment: another replica has seen it well. What is certain stays as it is."""
        if self.cause in CONCLUDED:
            moment = self._clock() + SOONER_SECONDS * self._chance.random()
            self._open_until = min(self._open_until, moment)
            self._first_word.waive()

    def set_slow_seconds(self, seconds: float | None) -> None:
        """Tell slow calls by another figure from now on; see `__init__`."""
        self._slowness.given = seconds

    def _leave(self, ticket: Ticket) -> None:
        if ticket.passage is not Passage.PLAIN:
            self._probing = False

    def _most(self, count: int, ratio: float) -> bool:
        calls = self._window.calls
        return calls >= LEAST_CALLS and count >= ratio * calls

    def _eject(self, cause: Cause, reason: str) -> None:
        if self.cause is None:
            self._times = max(0, self._times - int((self._clock() - self._closed_at) // FORGIVING_SECONDS))
        self._times += 1
        base = SLOW_EJECTION_SECONDS if cause is Cause.SLOW else EJECTION_SECONDS
        seconds = min(base * self._times, LONGEST_EJECTION_SECONDS) * (1 + JITTER * self._chance.random())
        self._open(seconds, cause, reason)
        self._first_word.give(self._open_until)

    def _pause(self, error: ProviderError, reason: str) -> None:
        """Be open for as long as the deployment asks."""
        asked = PAUSE_SECONDS if error.retry_after_seconds is None else error.retry_after_seconds
        self._open(min(asked, LONGEST_EJECTION_SECONDS), Cause.OVERLOADED, reason)

    def _open(self, seconds: float, cause: Cause, reason: str) -> None:
        """Be open for so long; when it is already, whichever ends later holds."""
        now = self._clock()
        if self.cause is None:
            self._opened_at = now
            self.openings += 1
            self._plain = Ticket(Passage.PLAIN, self.openings)
        elif now + seconds <= self._open_until:
            return
        if cause is not self.cause or now + seconds > self._open_until + NOTICEABLE_SECONDS:
            self.changes += 1
        self._open_until, self._early_at = now + seconds, now + EARLY_SECONDS
        self.cause, self.reason = cause, reason

    def _close(self) -> None:
        self.changes += 1
        self._closed_at = self._clock()
        self._open_until, self.cause, self.reason = 0.0, None, None
        self._first_word.leave()
        self._first_word.decided()
        self._window.clear()


def _cause(error: ProviderError) -> Cause:
    return Cause.DENIED if error.outcome is Outcome.DENIED else Cause.FAILING
