"""One of those that are compared: what is sent to it, and the process whose CPU it costs."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks import cpu, wrk
from tests.benchmarks.processes import Cores
from tests.benchmarks.rounds import take_turns
from tests.benchmarks.stage import Stage

WARM_UP_SECONDS = 2


class WrongAnswer(Exception):
    """A contender that does not do the work: how fast it is means nothing."""


@dataclass(frozen=True, slots=True)
class Contender:
    """Somebody who answers the work's request."""

    post: wrk.Post
    pid: int
    """The process that answers; those it started count with it."""


@dataclass(frozen=True, slots=True)
class Run:
    """One contender's turn."""

    load: wrk.Load
    cpu_ms: float
    """CPU milliseconds that an answered request took the contender."""


def take_turn(contender: Contender, *, connections: int, seconds: int, cores: Cores) -> Run:
    """
    Load *contender* once.

    Raises:
        LoadFailed: not every request was answered with a success.
    """
    before = cpu.cpu_seconds(contender.pid)
    load = wrk.load(contender.post, connections=connections, seconds=seconds, core=cores.load)
    used = cpu.cpu_seconds(contender.pid) - before
    return Run(load, used * 1000 / load.requests)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of taking turns."""

    runs: Mapping[str, Sequence[Run]]
    """Each contender's turns, round by round; the warm-up is not among them."""
    answered: Mapping[str, int]
    """Each contender's answered requests, the warm-up's among them."""
    cut: int
    """The most requests that any contender was sent beside those, wrk's connections being cut at the end of a turn."""


def compare(contenders: Mapping[str, Contender], *, connections: int, stage: Stage) -> Comparison:
    """
    Warm every contender up, then let them take turns.

    Raises:
        LoadFailed: not every request was answered with a success.
    """

    def turn_of(contender: Contender, seconds: int) -> Run:
        return take_turn(contender, connections=connections, seconds=seconds, cores=stage.cores)

    warm = {name: turn_of(contender, WARM_UP_SECONDS) for name, contender in contenders.items()}
    turns = {name: partial(turn_of, contender, stage.seconds) for name, contender in contenders.items()}
    runs = take_turns(turns, rounds=stage.rounds)
    answered = {name: sum(run.load.requests for run in (warm[name], *runs[name])) for name in contenders}
    return Comparison(runs, answered, connections * (stage.rounds + 1))


def summary(runs: Sequence[Run]) -> dict[str, float]:
    """Return the medians of a contender's turns."""
    return {
        "requests_per_second": median(run.load.per_second for run in runs),
        "p50_ms": median(run.load.p50_ms for run in runs),
        "p99_ms": median(run.load.p99_ms for run in runs),
        "cpu_ms": median(run.cpu_ms for run in runs),
    }


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer, read whole."""

    status: int
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes

    def json(self) -> Any:
        """Return the body, read as JSON."""
        return json.loads(self.body)


def ask(
    url: str, *, authorization: str = "", body: Path | None = None, content_type: str = "application/json"
) -> Heard:
    """Send one request outside of any timing, a POST when there is a *body*; return what came, whatever its status."""
    headers = {"Content-Type": content_type, **({"Authorization": authorization} if authorization else {})}
    request = urllib.request.Request(url, data=body.read_bytes() if body else None, headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            return Heard(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read())
    except urllib.error.HTTPError as refusal:
        with refusal:
            return Heard(refusal.code, {name.lower(): value for name, value in refusal.headers.items()}, refusal.read())
