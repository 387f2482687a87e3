"""
W5: one of two regions dies under 100 requests a second, beside the second before.

It dies in three ways: it answers 500 to everything, it refuses connections, it swallows them. Before that it stumbles:
every third call is a 500, which are enough to say what each costs and too few for a breaker. In the end both die.

The load is open: it is asked at the same rate whether answers come or not, and latency counts from when a request was
due. Each blow meets two deployments of which the gateway knows nothing yet.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from statistics import median

from providers.transport import HttpUpstream
from tests.benchmarks import maskgate
from tests.benchmarks.affinity import held_on
from tests.benchmarks.contender import WrongAnswer
from tests.benchmarks.flushes import flush_figures
from tests.benchmarks.region_control import NEAR, Ports, controlled, regions_running
from tests.benchmarks.regions import Way
from tests.benchmarks.stage import Stage, Work
from tests.benchmarks.steady import percentile
from tests.benchmarks.table import Aim, Row
from tests.benchmarks.w5_asking import Asking, asking
from tests.benchmarks.w5_phase import Blow, Phase, p99_ms, percentile_ms, play

NAME = "W5 one region dies"
BESIDE = "the second before"
#: The longest that a connection may take: the gateway's own figure.
CONNECT_SECONDS: float = inspect.signature(HttpUpstream).parameters["connect_seconds"].default
NOWHERE = "all_deployments_unavailable"

#: Flushes that the disk is tried with.
FLUSHES = 200

STUMBLES = Blow("every third call 500", Way.STUMBLE)
FAILS = Blow("all calls 500", Way.FAIL)
REFUSES = Blow("connections refused", Way.REFUSE)
SWALLOWS = Blow("connections swallowed", Way.SWALLOW, seconds=CONNECT_SECONDS)
BOTH = Blow("both regions 500", Way.FAIL, Way.FAIL)
BLOWS = (STUMBLES, FAILS, REFUSES, SWALLOWS, BOTH)
DEATHS = (FAILS, REFUSES, SWALLOWS)

GAP = Aim(5, "ms", at_most=True)
UNAVAILABLE = Aim(100, "ms", at_most=True)
ERRORS = Aim(0, "errors", at_most=True)
ADDED = Aim(CONNECT_SECONDS * 1000, "ms", at_most=True)
CALLS = Aim(0, "calls", at_most=True)


def named(blow: Blow, figure: str) -> str:
    """Return what a figure of a blow is called in the table."""
    return f"W5 {blow.name}: {figure}"


def measure(stage: Stage) -> list[Row]:
    """Strike in every way, round by round, and return a row for each figure."""
    with ExitStack() as running:
        ports = running.enter_context(regions_running(folder=stage.folder / "regions", core=stage.cores.load))
        folder = stage.folder / "maskgate"
        gateway = running.enter_context(maskgate.gateway(ports.url(NEAR), folder=folder, core=stage.cores.gateway))
        gateway.check_answer()
        with held_on(stage.cores.load):
            disk = flush_figures(stage.folder, count=FLUSHES)
            phases = asyncio.run(_phases(stage, gateway, folder / "maskgate.yaml", ports))
    return rows_of(phases, disk)


async def _phases(
    stage: Stage, gateway: maskgate.Gateway, configuration: Path, ports: Ports
) -> dict[Blow, list[Phase]]:
    phases: dict[Blow, list[Phase]] = {blow: [] for blow in BLOWS}
    numbers = count(1)
    async with asking(gateway, configuration) as caller, controlled(ports.control) as control:
        paid = (await caller.usage())["settled"]
        for turn in range((stage.rounds + 1) // 2):
            for blow in BLOWS:
                if blow.seconds and turn % 2:
                    continue  # what takes long is done in every other round
                phase = await play(
                    blow,
                    seconds=stage.seconds / 2,
                    number=next(numbers),
                    asking=caller,
                    control=control,
                    ports=ports,
                )
                phases[blow].append(phase)
                paid += len(phase.told) - phase.errors
        await _check_books(caller, paid)
    return phases


async def _check_books(caller: Asking, paid: int) -> None:
    """
    Compare the ledger with what callers got.

    Raises:
        WrongAnswer: not every answer was paid for once, or an attempt stays open.
    """
    total = await caller.usage()
    if (total["settled"], total["open"]) != (paid, 0):
        raise WrongAnswer(f"callers had {paid} answers, and the ledger says {total}")


def rows_of(phases: Mapping[Blow, Sequence[Phase]], disk: Mapping[str, float]) -> list[Row]:
    """
    Return a row for each figure, with one value a round.

    Args:
        phases: what was seen, blow by blow.
        disk: what its flushes alone take; a next attempt waits for one.

    Raises:
        WrongAnswer: a blow had not the effect that its figures are about.
    """
    rows = [_gap_row(phases[STUMBLES], share, disk) for share in (50, 99)]
    for blow in DEATHS:
        each = phases[blow]
        if any(NEAR not in phase.opened for phase in each):
            raise WrongAnswer(f"{blow.name}: the dead region's breaker was not open in the end")
        errors = tuple(float(phase.errors) for phase in each)
        added = tuple(phase.added_ms for phase in each)
        calls = tuple(float(phase.calls_once_open) for phase in each)
        rows += [
            Row(named(blow, "errors"), BESIDE, ERRORS, errors, _callers(each)),
            Row(named(blow, "added p99"), BESIDE, ADDED, added, _latencies(each)),
            Row(named(blow, "calls to it once open"), BESIDE, CALLS, calls, _breaker(each)),
        ]
    return [*rows, _unavailable_row(phases[BOTH])]


def _gap_row(each: Sequence[Phase], share: int, disk: Mapping[str, float]) -> Row:
    if any(phase.opened for phase in each):
        raise WrongAnswer(f"{STUMBLES.name}: a breaker has opened, so that there was nothing more to measure")
    figures = tuple(percentile(phase.gaps_ms, share) for phase in each)
    gaps = [gap for phase in each for gap in phase.gaps_ms]
    detail: dict[str, object] = {
        "gaps": {"p50_ms": percentile(gaps, 50), "p99_ms": percentile(gaps, 99), "in_all": len(gaps)},
        "a flush of the disk alone": dict(disk),
    }
    return Row(named(STUMBLES, f"p{share} until the next call"), BESIDE, GAP, figures, {**detail, **_callers(each)})


def _unavailable_row(each: Sequence[Phase]) -> Row:
    refused = [[told for told in phase.once_open if told.answer.outcome == NOWHERE] for phase in each]
    if not all(refused):
        raise WrongAnswer(f"{BOTH.name}: nobody was told {NOWHERE}")
    outcomes = Counter(told.answer.outcome for phase in each for told in phase.once_open)
    detail: dict[str, object] = {"once both are open": dict(outcomes)}
    figures = tuple(p99_ms(told) for told in refused)
    return Row(named(BOTH, "p99 of 503"), BESIDE, UNAVAILABLE, figures, detail)


def _callers(each: Sequence[Phase]) -> dict[str, object]:
    """Return how many callers saw what, and how late the load was asked: a measure of how busy the machine is."""
    told = [told for phase in each for told in phase.told]
    late = percentile([one.asked - one.due for one in told], 99) * 1000
    return {"callers": dict(Counter(one.answer.outcome for one in told)), "load": {"p99_ms_late": late}}


def _latencies(each: Sequence[Phase]) -> dict[str, object]:
    """Return what callers waited, the middle of the rounds."""
    return {
        name: {f"p{per_cent}_ms": median(percentile_ms(told, per_cent) for told in parts) for per_cent in (50, 99)}
        for name, parts in (
            ("before", [phase.before for phase in each]),
            ("after", [phase.after for phase in each]),
        )
    }


def _breaker(each: Sequence[Phase]) -> dict[str, object]:
    """Return when the dead region's breaker opened, and how many requests were asked before and after it had."""
    return {
        "breaker": {
            "s_until_it_opened": median(phase.opened[NEAR] - phase.struck for phase in each),
            "failed_over": median(phase.failed_over for phase in each),
            "asked_once_open": median(len(phase.once_open) for phase in each),
        }
    }


AIMS = (
    (BESIDE, GAP),
    (BESIDE, GAP),
    *((BESIDE, aim) for _ in DEATHS for aim in (ERRORS, ADDED, CALLS)),
    (BESIDE, UNAVAILABLE),
)
WORK = Work(NAME, AIMS, measure)
