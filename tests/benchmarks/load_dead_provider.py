"""
A provider is dead for a minute while fifty requests a second come: what that costs, and who notices.

Twice: it answers 500 to everything, and it takes no connections. The promise is Envoy's retry budget, 20 % and never
below 3; a breaker that opens by the fifth failure in a row; and one probe each time that it half-opens, which in a
minute is once: it is left alone for 30 s at first, and for 60 s then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.benchmarks.load_house import House, house, lasting, pause_until, soon
from tests.benchmarks.load_ledger import Attempt, read_attempts
from tests.benchmarks.load_regions import Behaviour
from tests.benchmarks.stage import Stage, Work
from tests.benchmarks.steady import percentile
from tests.benchmarks.table import Aim, Row

NAME = "load: provider dead"
PER_SECOND = 50
CALM_SECONDS = 3.0
DEAD, NEXT = "dead", "next"
WELL = Behaviour(0.1)
DEATHS = {"500s": Behaviour(0, status=500), "no connections": Behaviour(0, refuses=True)}

ATTEMPTS, OPENED, PROBES, OTHERS = (
    "attempts, 3 less, a request",
    "in a row until its breaker is open",
    "calls to it from then on",
    "requests not answered by the next",
)
AIMS = (
    (ATTEMPTS, Aim(1.2, at_most=True)),
    (OPENED, Aim(5, "failures", at_most=True)),
    (PROBES, Aim(1, "calls", at_most=True)),
    (OTHERS, Aim(0, "requests", at_most=True)),
)
#: Whom the breaker lets through within so long of the first failure is no probe: the first of those comes after 30 s.
OPENING_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Opening:
    """How the breaker opened."""

    failures: int
    """Those in a row that let nobody through any more; 0 where there was none."""
    probes: int
    """Calls that were let through later."""


def opening(attempts: Sequence[Attempt]) -> Opening:
    """
    Find in the ledger when the last call was let through that was no probe: its breaker was open by the next failure.

    Calls that were let through before and failed after that are not counted: they were under way.
    """
    those = [attempt for attempt in attempts if attempt.deployment == DEAD]
    first = min((attempt.ended or 0.0 for attempt in those if attempt.failed), default=None)
    if first is None:
        return Opening(0, 0)
    early = [attempt.begun for attempt in those if attempt.begun < first + OPENING_SECONDS]
    last = max(early)
    in_a_row = 0
    for attempt in sorted(those, key=lambda attempt: attempt.ended or 0.0):
        if attempt.ended is not None and attempt.ended <= last:
            in_a_row = in_a_row + 1 if attempt.failed else 0
    return Opening(in_a_row + 1, len(those) - len(early))


def measure(stage: Stage) -> list[Row]:
    """Let it die in both ways."""
    rows = []
    for death, behaviour in DEATHS.items():
        with house(stage, death.replace(" ", "-"), {DEAD: WELL, NEXT: WELL}) as running:
            rows += _rows(running, death, behaviour, lasting(stage, 60, quick=9))
    return rows


def _rows(running: House, death: str, behaviour: Behaviour, seconds: float) -> list[Row]:
    starts = soon()
    caller = running.caller(PER_SECOND, CALM_SECONDS + seconds, starts=starts)
    pause_until(starts + CALM_SECONDS)
    died = running.regions.behave(DEAD, behaviour)
    endings = caller.endings()
    after = [ending for ending in endings if ending.ended >= died]
    attempts = sum(len(ending.ways) for ending in after)
    others = sum(not ending.good or (ending.due >= died and ending.ways[-1][0] != NEXT) for ending in endings)
    opened = opening(read_attempts(running.state))
    figures = ((attempts - 3) / len(after), opened.failures, opened.probes, others)
    latencies = {
        "calm": [ending.seconds * 1000 for ending in endings if ending.ended < died],
        "dead": [ending.seconds * 1000 for ending in after],
    }
    detail = {
        "requests": len(after),
        "attempts": attempts,
        **{name: {"p50_ms": percentile(ms, 50), "p99_ms": percentile(ms, 99)} for name, ms in latencies.items()},
    }
    return [
        Row(f"{NAME}, {death}", beside, aim, (figure,), detail if beside == ATTEMPTS else {})
        for (beside, aim), figure in zip(AIMS, figures, strict=True)
    ]


WORK = Work(NAME, tuple(aim for _ in DEATHS for aim in AIMS), measure)
