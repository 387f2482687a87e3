"""
How many requests, connections and calls the descriptors of this process allow for.

Each request that is worked on needs its caller's connection, one to a provider and now and then one to fetch a file
with; each caller that waits for its next idea keeps a connection as well. What everything else needs is put aside:
the database, Redis, the log, look-ups of names, work on pictures.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

if sys.platform != "win32":
    import resource

#: For whatever is opened later than the budget is made: connections to PostgreSQL (9) and Redis (16), look-ups of names
#: (16 threads, a socket or a file each), files in memory, a configuration that is read, processes for pictures.
PUT_ASIDE = 64
#: Of each hundred descriptors so many more are put aside, for what is being closed and is not yet.
PUT_ASIDE_PERCENT = 3
#: Where a system names no limit.
ENOUGH = 1_048_576
#: However few descriptors there are, so many requests are tried.
LEAST_REQUESTS = 4


@dataclass(frozen=True, slots=True)
class DescriptorBudget:
    """What the descriptors of a process are given out to."""

    requests: int
    """Worked on at once at most."""
    callers: int
    """Connections of callers, idle ones included."""
    calls: int
    """Connections to providers, idle ones included."""
    fetches: int
    """Connections to where pictures and masks are, idle ones included."""


def budget(limit: int, used: int, *, upstreams_here: bool = False) -> DescriptorBudget:
    """
    Divide the descriptors of a process (pure).

    Args:
        limit: how many it may have open.
        used: how many it has open before the first request.
        upstreams_here: whether the sandbox runs in the same process: the far ends of all calls then count as well.

    >>> budget(1024, 40)
    DescriptorBudget(requests=323, callers=403, calls=323, fetches=161)
    """
    free = max(0, limit - used - PUT_ASIDE - limit * PUT_ASIDE_PERCENT // 100)
    far_ends = 2 if upstreams_here else 1
    requests = max(LEAST_REQUESTS, int(free / (1.25 + 1.5 * far_ends)))
    return DescriptorBudget(
        requests=requests,
        callers=max(requests, int(1.25 * requests)),
        calls=requests,
        fetches=max(LEAST_REQUESTS, requests // 2),
    )


def own_budget(*, upstreams_here: bool = False) -> DescriptorBudget:
    """Divide the descriptors of this process, as it stands now."""
    return budget(_limit(), _used(), upstreams_here=upstreams_here)


def raise_limit() -> None:
    """
    Have this process use as many descriptors as it is allowed to.

    The limit that shells and services begin with (1,024) is for programs that call `select`, which counts no further.
    """
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else hard
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    with suppress(ValueError, OSError):  # macOS names a limit that it does not grant: then what there is has to do
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _limit() -> int:
    if sys.platform == "win32":
        return ENOUGH
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return ENOUGH if soft == resource.RLIM_INFINITY else soft


def _used() -> int:
    for folder in (Path("/proc/self/fd"), Path("/dev/fd")):
        with suppress(OSError):
            return len(os.listdir(folder))  # noqa: PTH208 - only their number is wanted
    return PUT_ASIDE
