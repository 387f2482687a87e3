"""
One of two regions becomes ten times slower, and later is well again: when traffic has left it, and when it is back.

Both cost the same, so that `fastest` and `balanced` give each half while both are well. Measured on the regions' side.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.benchmarks.contender import WrongAnswer
from tests.benchmarks.load_house import House, house, lasting, pause_until, soon
from tests.benchmarks.load_regions import Behaviour, Call
from tests.benchmarks.stage import Stage, Work
from tests.benchmarks.table import Aim, Row

NAME = "load: region 10 x slower"
PER_SECOND = 50
CALM_SECONDS = 6.0
SLOW, OTHER = "slowing", "steady"
WELL, ILL = Behaviour(0.1), Behaviour(1.0)
STRATEGIES = ("fastest", "balanced")

MOVED, BACK = "until 90 % has moved", "until its share is fair again"
AIMS = ((MOVED, Aim(10, "s", at_most=True)), (BACK, Aim(30, "s", at_most=True)))
#: A share is taken of so many seconds: a hundred calls.
SPAN_SECONDS = 2.0
MOVED_SHARE = 0.1
#: Four fifths of the half that is fair: of a hundred calls that go by chance fewer are one time in fifty.
FAIR_SHARE = 0.4
STEP_SECONDS = 0.1


def share(calls: Sequence[Call], begin: float, end: float) -> float | None:
    """Return the slowing region's part of the calls that came within; None where none did."""
    regions = [call.region for call in calls if begin <= call.came < end]
    return regions.count(SLOW) / len(regions) if regions else None


def until_it_has_left(calls: Sequence[Call], begin: float, end: float) -> float:
    """Return how many seconds after *begin* its share fell, and stayed, at a tenth or less."""
    moment = end - SPAN_SECONDS
    while moment >= begin and (now := share(calls, moment, moment + SPAN_SECONDS)) is not None and now <= MOVED_SHARE:
        moment -= STEP_SECONDS
    return moment + STEP_SECONDS - begin


def until_it_is_back(calls: Sequence[Call], begin: float, end: float) -> float:
    """Return how many seconds after *begin* its share has become fair; all that there were where it has not."""
    moment = begin
    while moment + SPAN_SECONDS <= end:
        now = share(calls, moment, moment + SPAN_SECONDS)
        if now is not None and now >= FAIR_SHARE:
            return moment - begin
        moment += STEP_SECONDS
    return end - begin


def measure(stage: Stage) -> list[Row]:
    """Take both strategies, one after the other."""
    rows = []
    for strategy in STRATEGIES:
        with house(stage, strategy, {SLOW: WELL, OTHER: WELL}) as running:
            rows += _rows(running, strategy, lasting(stage, 30, quick=12), lasting(stage, 35, quick=25))
    return rows


def _rows(running: House, strategy: str, ill_seconds: float, after_seconds: float) -> list[Row]:
    starts = soon()
    fell_ill, ends = starts + CALM_SECONDS, starts + CALM_SECONDS + ill_seconds + after_seconds
    caller = running.caller(PER_SECOND, ends - starts, starts=starts, strategy=strategy)
    pause_until(fell_ill)
    fell_ill = running.regions.behave(SLOW, ILL)
    pause_until(starts + CALM_SECONDS + ill_seconds)
    healed = running.regions.behave(SLOW, WELL)
    endings, calls = caller.endings(), running.regions.calls()
    failed = sum(not ending.good for ending in endings)
    if failed:
        raise WrongAnswer(f"{failed} of {len(endings)} requests had no answer, although nobody was down")
    figures = (until_it_has_left(calls, fell_ill, healed), until_it_is_back(calls, healed, ends))
    shares = {
        "before": share(calls, starts + CALM_SECONDS / 2, fell_ill),
        "ill": share(calls, fell_ill, healed),
        "at the end": share(calls, ends - 3 * SPAN_SECONDS, ends),
    }
    detail = {"requests": len(endings), "share": shares, "ill for": f"{ill_seconds:g} s"}
    return [
        Row(f"{NAME}, {strategy}", beside, aim, (figure,), detail if beside == MOVED else {})
        for (beside, aim), figure in zip(AIMS, figures, strict=True)
    ]


WORK = Work(NAME, tuple(aim for _ in STRATEGIES for aim in AIMS), measure)
