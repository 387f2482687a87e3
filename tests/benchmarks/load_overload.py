"""
Three times as much is asked as the deployments bear, whether answers come or not.

Two callers ask: a crowd, and beside it one that asks seldom, since a busy caller reads late what came in time. What the
deployments bear is their places by the seconds that the regions took: nothing that the gateway adds is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import orjson

from tests.benchmarks.load_caller import Ending
from tests.benchmarks.load_house import Caller, House, house, lasting, soon
from tests.benchmarks.load_ledger import disagreements, read_attempts
from tests.benchmarks.load_regions import Behaviour, Call
from tests.benchmarks.stage import Stage, Work
from tests.benchmarks.steady import percentile
from tests.benchmarks.table import Aim, Row

NAME = "load: 3 x overload"
TIMES = 3
REGIONS = ("one", "two")
UPSTREAM_SECONDS = 0.4
#: Calls at once that each of the deployments is taken to bear, and questions that may wait for it.
BEARS, MAY_WAIT = 8, 16
BOUNDS = {"max_concurrency": BEARS, "max_queue": MAY_WAIT}
PLACES = len(REGIONS) * BEARS
#: What is asked before, and what after: a part of what is borne.
CALM_PART = 0.5
CALM_SECONDS, AFTER_SECONDS = 6.0, 8.0
#: The rate of the caller who asks seldom.
SELDOM_PER_SECOND = 20.0

GOODPUT, SEEN, LOGGED, LOST, NORMAL, BOOKS = (
    "capacity",
    "refusals' p99, a calm caller",
    "refusals' p99, the gateway's log",
    "requests lost",
    "until all is well again",
    "books that differ from the ledger",
)
AIMS = (
    (GOODPUT, Aim(0.8)),
    (SEEN, Aim(50, "ms", at_most=True)),
    (LOGGED, Aim(50, "ms", at_most=True)),
    (LOST, Aim(0, "requests", at_most=True)),
    (NORMAL, Aim(5, "s", at_most=True)),
    (BOOKS, Aim(0, "entries", at_most=True)),
)
SPAN_SECONDS, STEP_SECONDS = 1.0, 0.1
#: So much longer than a calm answer takes an answer when all is well.
AS_USUAL = 1.5


def capacity(calls: Sequence[Call]) -> float:
    """Return how many calls a second the regions bear at all their places, going by what these took."""
    return PLACES / (sum(call.left - call.came for call in calls) / len(calls))


def goodput(endings: Sequence[Ending], seconds: float) -> float:
    """Return how many were answered in a second of those that lasted from the first request's due moment."""
    first = min(ending.due for ending in endings)
    return sum(ending.good and ending.ended <= first + seconds for ending in endings) / seconds


def until_normal(endings: Sequence[Ending], usual_seconds: float) -> float:
    """
    Return how many seconds passed until a second's requests were all answered, and as fast as usual.

    Returns:
        All the seconds that there were where that never came.
    """
    first, last = (edge(ending.due for ending in endings) for edge in (min, max))
    moment = first
    while moment + SPAN_SECONDS <= last:
        those = [ending for ending in endings if moment <= ending.due < moment + SPAN_SECONDS]
        slow = not those or median(ending.seconds for ending in those) > AS_USUAL * usual_seconds
        if not slow and all(ending.good for ending in those):
            return moment - first
        moment += STEP_SECONDS
    return last - first


def logged_ms(log: Path) -> list[float]:
    """Return how many milliseconds the gateway says that each refusal took."""
    lines = log.read_text(encoding="utf-8").splitlines()
    return [float(orjson.loads(line)["ms"]) for line in lines if '"outcome":"overloaded"' in line]


def measure(stage: Stage) -> list[Row]:
    """Ask calmly, then three times too much, then calmly again."""
    with house(stage, "overload", dict.fromkeys(REGIONS, Behaviour(UPSTREAM_SECONDS)), bounds=BOUNDS) as running:
        return _rows(running, lasting(stage, 30, quick=6))


def calmly(running: House, authorization: str | None = None) -> tuple[float, list[Ending]]:
    """Ask for half of what is borne; return the capacity, and how it went."""
    guess = PLACES / UPSTREAM_SECONDS
    caller = running.caller(
        CALM_PART * guess, CALM_SECONDS, starts=soon(), strategy="fastest", authorization=authorization
    )
    endings = caller.endings()
    return capacity([call for call in running.regions.calls() if call.status == 200]), endings


def _rows(running: House, seconds: float) -> list[Row]:
    bears, calm = calmly(running)
    usual = median(ending.seconds for ending in calm)
    starts = soon()

    def begin(per_second: float, lasting_seconds: float, at: float) -> Caller:
        return running.caller(per_second, lasting_seconds, starts=at, strategy="fastest")

    crowd = begin(TIMES * bears - SELDOM_PER_SECOND, seconds, starts)
    seldom = begin(SELDOM_PER_SECOND, seconds, starts)
    later = begin(CALM_PART * bears, AFTER_SECONDS, starts + seconds)
    calm_caller = seldom.endings()
    endings, after = [*crowd.endings(), *calm_caller], later.endings()
    seen = [ending.seconds * 1000 for ending in calm_caller if not ending.good]
    logged = logged_ms(running.gateways[0].log)
    differ = disagreements(read_attempts(running.state), running.regions.calls())
    answered = goodput(endings, seconds)
    figures = (
        answered / bears,
        percentile(seen, 99),
        percentile(logged, 99),
        sum(ending.lost for ending in (*calm, *endings, *after)),
        until_normal(after, usual),
        len(differ),
    )
    detail = {
        "a second": {"borne": bears, "asked": TIMES * bears, "answered": answered},
        "requests": {"answered": sum(ending.good for ending in endings), "refused": len(logged)},
        "seen": {"p50_ms": percentile(seen, 50), "p99_ms": percentile(seen, 99), "refusals": len(seen)},
        "logged": {"p50_ms": percentile(logged, 50), "p99_ms": percentile(logged, 99)},
        "books": ", ".join(differ) or "as the ledger",
    }
    return [
        Row(NAME, beside, aim, (figure,), detail if beside == GOODPUT else {})
        for (beside, aim), figure in zip(AIMS, figures, strict=True)
    ]


WORK = Work(NAME, AIMS, measure)
