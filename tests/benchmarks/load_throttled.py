"""
A provider answers 429 with `Retry-After: 2` while fifty requests a second come.

The two seconds are measured on its side, from the sending of a 429 to the arrival of the next call. Who was let through
before the gateway had heard of it is under way: the ledger says when that was, and each such call is shown.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.benchmarks.contender import WrongAnswer
from tests.benchmarks.load_house import House, house, lasting, pause_until, soon
from tests.benchmarks.load_ledger import Attempt, read_attempts
from tests.benchmarks.load_regions import Behaviour, Call
from tests.benchmarks.stage import Stage, Work
from tests.benchmarks.table import Aim, Row

NAME = "load: provider throttled"
PER_SECOND = 50
CALM_SECONDS = 3.0
AFTER_SECONDS = 6.0
RETRY_AFTER_SECONDS = 2
THROTTLED, NEXT = "throttled", "next"
WELL = Behaviour(0.1)
FULL = Behaviour(0, status=429, retry_after=RETRY_AFTER_SECONDS)

EARLY, LOST, BACK = "calls within 2 s of a 429", "requests lost", "until it is asked again"
AIMS = (
    (EARLY, Aim(0, "calls", at_most=True)),
    (LOST, Aim(0, "requests", at_most=True)),
    (BACK, Aim(RETRY_AFTER_SECONDS + 1, "s", at_most=True)),
)


@dataclass(frozen=True, slots=True)
class Made:
    """One call to the throttled provider as both sides saw it. All moments are monotonic seconds."""

    begun: float
    """When the gateway let it through."""
    came: float
    left: float
    heard: float
    """When the gateway knew how it ended."""
    status: int


def both_sides(attempts: Sequence[Attempt], calls: Sequence[Call], offset: float) -> list[Made]:
    """
    Return the provider's calls in the order in which they were made; *offset* is wall clock less monotonic clock.

    Raises:
        WrongAnswer: the ledger has not as many as the provider.
    """
    those = [attempt for attempt in attempts if attempt.deployment == THROTTLED and attempt.ended is not None]
    came = sorted((call for call in calls if call.region == THROTTLED), key=lambda call: call.came)
    if len(those) != len(came):
        raise WrongAnswer(f"the ledger has {len(those)} calls of the throttled provider, it had {len(came)} itself")
    return [
        Made(attempt.begun - offset, call.came, call.left, (attempt.ended or 0.0) - offset, call.status)
        for attempt, call in zip(those, came, strict=True)
    ]


def early(calls: Sequence[Made]) -> tuple[int, int]:
    """
    Return how many calls came within 2 s of the sending of a 429.

    Returns:
        Those that the gateway let through when it had heard of it, and those that were under way by then.
    """
    refused = [call for call in calls if call.status == 429]
    knowing = under_way = 0
    for call in calls:
        before = [each for each in refused if each.left < call.came < each.left + RETRY_AFTER_SECONDS]
        if any(call.begun > each.heard for each in before):
            knowing += 1
        elif before:
            under_way += 1
    return knowing, under_way


def measure(stage: Stage) -> list[Row]:
    """Throttle it for a while."""
    with house(stage, "throttled", {THROTTLED: WELL, NEXT: WELL}) as running:
        return _rows(running, lasting(stage, 30, quick=7))


def _rows(running: House, seconds: float) -> list[Row]:
    starts = soon()
    caller = running.caller(PER_SECOND, CALM_SECONDS + seconds + AFTER_SECONDS, starts=starts)
    pause_until(starts + CALM_SECONDS)
    running.regions.behave(THROTTLED, FULL)
    pause_until(starts + CALM_SECONDS + seconds)
    healed = running.regions.behave(THROTTLED, WELL)
    endings = caller.endings()
    calls = both_sides(read_attempts(running.state), running.regions.calls(), time.time() - time.monotonic())
    knowing, under_way = early(calls)
    back = min((call.came - healed for call in calls if call.status == 200 and call.came > healed), default=seconds)
    figures = (knowing, sum(not ending.good for ending in endings), back)
    detail = {
        "requests": len(endings),
        f"429s in {seconds:g} s": sum(call.status == 429 for call in calls),
        "of them under way when the first was sent": under_way,
    }
    return [
        Row(NAME, beside, aim, (figure,), detail if beside == EARLY else {})
        for (beside, aim), figure in zip(AIMS, figures, strict=True)
    ]


WORK = Work(NAME, AIMS, measure)
