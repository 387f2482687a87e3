"""
A key may ask a hundred times a second, and asks three hundred times, of two gateways that share Redis and PostgreSQL.

The burst is a second's worth, which is the default: a bucket that begins full and is refilled at the rate. In t seconds
it lets `rate x t + burst` requests through, no more and, being emptied all the time, no fewer. The burst is counted
once, whatever t is; what is compared with the limit is everything that was let through.

What is let through is answered from the cache: two gateways, their callers, PostgreSQL and Redis share two cores, and
the limit is to be measured, not these.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.benchmarks.load_caller import Ending
from tests.benchmarks.load_house import House, house, lasting, soon
from tests.benchmarks.load_regions import Behaviour
from tests.benchmarks.processes import NotRunnable
from tests.benchmarks.stage import Stage, Work
from tests.benchmarks.table import Aim, Row
from tests.servers import find, start_postgres, start_redis

NAME = "load: rate limit, 2 gateways"
PER_SECOND, BURST, OFFERED = 100, 100, 300
GATEWAYS = 2

OFF, LOST = "off 100/s x seconds + burst", "requests lost"
AIMS = (
    (OFF, Aim(1, "%", at_most=True)),
    (LOST, Aim(0, "requests", at_most=True)),
)


def off_per_cent(admitted: int, seconds: float) -> float:
    """Return how far that is from what the limit allows, either way, as a part of the rate's share of it."""
    return abs(admitted - (PER_SECOND * seconds + BURST)) * 100 / (PER_SECOND * seconds)


def admitted(endings: Sequence[Ending]) -> int:
    """Return how many the limit let through, whatever became of them."""
    return sum(ending.code != "rate_limited" for ending in endings)


def measure(stage: Stage) -> list[Row]:
    """Ask both gateways alike."""
    if find("postgres") is None or find("redis") is None:
        raise NotRunnable("PostgreSQL or Redis is not here: apt-get install postgresql redis-server")
    stage.folder.chmod(0o755)  # PostgreSQL runs as a user of its own
    folders = [stage.folder / name for name in ("redis", "postgres")]
    for folder in folders:
        folder.mkdir()
    redis, postgres = start_redis(folders[0]), start_postgres(folders[1])
    try:
        environ = {"MASKGATE_REDIS_URL": redis.url, "MASKGATE_DATABASE_URL": postgres.create("maskgate")}
        with house(stage, "limited", {"fast": Behaviour(0.02)}, gateways=GATEWAYS, environ=environ) as running:
            return _rows(running, lasting(stage, 30, quick=6))
    finally:
        postgres.stop()
        redis.stop()


def _rows(running: House, seconds: float) -> list[Row]:
    key = running.key_of("limited", requests_per_second=str(PER_SECOND), burst=BURST)
    starts = soon()
    callers = [
        running.caller(OFFERED / GATEWAYS, seconds, starts=starts, authorization=key, gateway=number, cache="use")
        for number in range(GATEWAYS)
    ]
    each = [caller.endings() for caller in callers]
    endings = [ending for those in each for ending in those]
    through = admitted(endings)
    figures = (off_per_cent(through, seconds), sum(ending.lost for ending in endings))
    detail = {
        "offered": len(endings),
        "let through": {f"of {PER_SECOND * seconds + BURST:g}": through},
        "by each gateway": " + ".join(str(admitted(those)) for those in each),
        "answered": sum(ending.good for ending in endings),
    }
    return [
        Row(NAME, beside, aim, (figure,), detail if beside == OFF else {})
        for (beside, aim), figure in zip(AIMS, figures, strict=True)
    ]


WORK = Work(NAME, AIMS, measure)
