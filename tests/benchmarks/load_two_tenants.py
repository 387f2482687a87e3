"""
Two tenants ask what one gateway bears: the loud one ten times as much as the quiet one, and thrice what there is.

What the quiet one asks for is less than its half, so it gets all of it, as if it were alone; the loud one has the rest.
"""

from __future__ import annotations

from tests.benchmarks.load_caller import Ending
from tests.benchmarks.load_house import House, house, lasting, soon
from tests.benchmarks.load_overload import BOUNDS, REGIONS, UPSTREAM_SECONDS, calmly, goodput
from tests.benchmarks.load_regions import Behaviour
from tests.benchmarks.stage import Stage, Work
from tests.benchmarks.steady import percentile
from tests.benchmarks.table import Aim, Row

NAME = "load: two tenants"
TIMES = 10
#: What the quiet one asks for, as a part of what is borne.
QUIET_PART = 0.3
ALONE_SECONDS = 6.0

SHARE, ALONE, WHOLE, LOST = (
    "what the quiet one asks",
    "what it gets alone",
    "capacity, both together",
    "requests lost",
)
AIMS = (
    (SHARE, Aim(0.95)),
    (ALONE, Aim(0.95)),
    (WHOLE, Aim(0.8)),
    (LOST, Aim(0, "requests", at_most=True)),
)


def share(endings: list[Ending]) -> float:
    """Return the part that was answered."""
    return sum(ending.good for ending in endings) / len(endings)


def measure(stage: Stage) -> list[Row]:
    """Let the quiet one ask alone, then both."""
    with house(stage, "tenants", dict.fromkeys(REGIONS, Behaviour(UPSTREAM_SECONDS)), bounds=BOUNDS) as running:
        return _rows(running, lasting(stage, 30, quick=6))


def _rows(running: House, seconds: float) -> list[Row]:
    quiet, loud = (running.key_of(tenant) for tenant in ("quiet", "loud"))
    bears, _ = calmly(running, quiet)
    asked = QUIET_PART * bears
    alone = running.caller(asked, ALONE_SECONDS, starts=soon(), strategy="fastest", authorization=quiet).endings()
    starts = soon()
    callers = [
        running.caller(per_second, seconds, starts=starts, strategy="fastest", authorization=key)
        for per_second, key in ((asked, quiet), (TIMES * asked, loud))
    ]
    beside, others = (caller.endings() for caller in callers)
    # What was due is counted, whenever its answer came: the quiet one's last requests end after the others' last.
    gets, got_alone = share(beside) * asked, share(alone) * asked
    whole = goodput([*beside, *others], seconds)
    lost = sum(ending.lost for ending in (*alone, *beside, *others))
    figures = (share(beside), gets / got_alone, whole / bears, lost)
    latencies = {
        name: [ending.seconds * 1000 for ending in endings if ending.good]
        for name, endings in (("alone", alone), ("quiet", beside), ("loud", others))
    }
    detail = {
        "asked a second": {"borne": bears, "quiet": asked, "loud": TIMES * asked},
        "answered a second": {"quiet": gets, "loud": share(others) * TIMES * asked},
        **{name: {"p50_ms": percentile(ms, 50), "p99_ms": percentile(ms, 99)} for name, ms in latencies.items()},
    }
    return [
        Row(NAME, name, aim, (figure,), detail if name == SHARE else {})
        for (name, aim), figure in zip(AIMS, figures, strict=True)
    ]


WORK = Work(NAME, AIMS, measure)
