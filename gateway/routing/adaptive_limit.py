"""
How many calls a deployment bears at once, learned from how they end (pure).

The limit begins at the configured maximum and moves between that and the minimum:

    grows     by 1 after as many successes as it is, if it was reached meanwhile
    shrinks   to three quarters of the calls that were under way: when a call is turned away ("too many requests"), when
              one stays unanswered for longer than twice the usual time, or when a round of calls takes on average more
              than twice the usual time
    once      a round trip at most: what calls say that began before the limit shrank is news of the old limit

The usual time is what a call takes with hardly another beside it, or the fastest round so far where there is no such
call. It follows slower rounds only where shrinking has not made the calls faster: then concurrency is not the cause.

Why loss first: the provider's own queue is out of sight, its 429 is not; client-side limiters back off on loss.
Source: https://github.com/Netflix/concurrency-limits, README ("AIMD" for clients), read 2026-11.
"""

from __future__ import annotations

#: Slower than so many times the usual is a sign of overload.
SLOW_FACTOR = 2.0
#: Calls in a round, at least and at most: the mean of fewer says little, and more say it late.
ROUND_CALLS = 20
LONGEST_ROUND_CALLS = 60
#: With so few calls under way, slowness has other causes.
FEW_CALLS = 4
#: How far the usual time follows a call that was nearly alone, or a round that was faster.
USUAL_SHARE = 0.2
#: What the usual time is multiplied with when shrinking has not helped: the next round takes `HELPED` of the last one.
UNHELPED_FACTOR = 1.25
HELPED = 0.9
#: The weight of the newest call in `mean_seconds`.
MEAN_SHARE = 0.1


class AdaptiveLimit:
    """The limit of one deployment. Its counts are whole numbers; times are in seconds."""

    def __init__(self, maximum: int, minimum: int = 1) -> None:
        """Begin at the maximum."""
        self.maximum = maximum
        self.minimum = min(minimum, maximum)
        self.limit = maximum
        self.epoch = 0
        """How often it has shrunk: calls remember under which limit they began."""
        self.usual_seconds: float | None = None
        """How long calls take when there are not too many of them; None while nothing is known."""
        self.mean_seconds: float | None = None
        """How long calls have lately held their places, however they ended; None while nothing is known."""
        self._slow_round: float | None = None
        self._successes = 0
        self._reached = False
        self._round_calls = 0
        self._round_seconds = 0.0
        self._round_peak = 0

    def bound(self, maximum: int, minimum: int = 1) -> None:
        """Move between other bounds; a limit that was not in force goes along with the maximum."""
        free = self.limit == self.maximum
        self.maximum, self.minimum = maximum, min(minimum, maximum)
        self.limit = maximum if free else max(self.minimum, min(self.limit, maximum))

    def began(self, in_flight: int) -> int:
        """Note a call that makes it so many; return the epoch it belongs to."""
        self._reached = self._reached or in_flight >= self.limit
        return self.epoch

    def succeeded(self, epoch: int, in_flight: int, seconds: float) -> None:
        """Note a good end of a call that began as one of *in_flight*, and took so long upstream."""
        if epoch != self.epoch:
            return
        self._successes += 1
        if self._successes >= self.limit:
            if self._reached and self.limit < self.maximum:
                self.limit += 1
            self._successes, self._reached = 0, False
        if in_flight <= FEW_CALLS:
            self._learn(seconds)
        self._round_calls += 1
        self._round_seconds += seconds
        self._round_peak = max(self._round_peak, in_flight)
        if self._round_calls >= min(max(self.limit, ROUND_CALLS), LONGEST_ROUND_CALLS):
            self._end_round()

    def turned_away(self, epoch: int, in_flight: int) -> None:
        """Note that a call which began as one of *in_flight* was one too many."""
        if epoch == self.epoch:
            self._shrink(in_flight)

    def unanswered(self, epoch: int, in_flight: int, seconds: float) -> None:
        """Note a call without an answer: a sign of overload if it was given the time that an answer takes."""
        if self.usual_seconds is not None and seconds >= SLOW_FACTOR * self.usual_seconds:
            self.turned_away(epoch, in_flight)

    def held(self, seconds: float) -> None:
        """Note how long a call has held its place, however it ended."""
        known = self.mean_seconds
        self.mean_seconds = seconds if known is None else known + MEAN_SHARE * (seconds - known)

    def _end_round(self) -> None:
        mean, peak = self._round_seconds / self._round_calls, self._round_peak
        self._begin_round()
        if self.usual_seconds is None or mean < self.usual_seconds:
            self._learn(mean)
        assert self.usual_seconds is not None
        if peak <= FEW_CALLS or mean <= SLOW_FACTOR * self.usual_seconds:
            self._slow_round = None
            return
        if self._slow_round is not None and mean > HELPED * self._slow_round:
            self.usual_seconds *= UNHELPED_FACTOR
        self._slow_round = mean
        self._shrink(peak)

    def _learn(self, seconds: float) -> None:
        known = self.usual_seconds
        self.usual_seconds = seconds if known is None else known + USUAL_SHARE * (seconds - known)

    def _shrink(self, in_flight: int) -> None:
        self.epoch += 1
        self.limit = max(self.minimum, min(self.limit, in_flight) * 3 // 4)
        self._successes, self._reached = 0, False
        self._begin_round()

    def _begin_round(self) -> None:
        self._round_calls, self._round_seconds, self._round_peak = 0, 0.0, 0
