"""Who asks something free, and when: hours of it in virtual time."""

from __future__ import annotations

import asyncio
import io
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from gateway.routing.deployments import Offer
from gateway.routing.first_word import FREE_PROBE_SECONDS, LATE_SECONDS
from gateway.routing.health import BreakerState, HealthTable
from gateway.routing.probing import LOOK_SECONDS, FreeProbeResult, Prober, answering_free, ask_free
from gateway.telemetry.logs import make_logger
from providers.contract import (
    Deadline,
    Deployment,
    ProviderError,
    ProviderFailed,
    ProviderRefused,
    ProviderUnreachable,
    Secret,
)
from tests.gateway.provided import providers_built
from tests.gateway.routing.virtual_loop import run_virtually
from tests.tiers import by_tier

CLOSED, HALF_OPEN = BreakerState.CLOSED, BreakerState.HALF_OPEN
PASSED, FAILED = FreeProbeResult.PASSED, FreeProbeResult.FAILED


class Least(random.Random):
    """Chance at its lower end."""

    def random(self) -> float:
        """Return the least there is."""
        return 0.0


async def passes() -> None:
    """Answer as one should."""


@dataclass
class Scene:
    """Deployments, the prober, and what answers it."""

    names: tuple[str, ...] = ("eu", "us")
    answer: Callable[[], Awaitable[None]] = passes
    asked: list[tuple[str, float]] = field(default_factory=list)
    """Whom, and when in seconds since the start."""
    left: list[float] = field(default_factory=list)
    """How many seconds each free probe was given."""
    told: list[tuple[str, FreeProbeResult, str | None]] = field(default_factory=list)
    log: io.StringIO = field(default_factory=io.StringIO)
    under_way: int = 0
    most: int = 0

    def __post_init__(self) -> None:
        """Build the table on the loop's clock."""
        clock = asyncio.get_running_loop().time
        self.table = HealthTable(self.names, clock, Least())
        self.table.offer_free_probes(self.names)
        self.prober = Prober(
            lambda: self.table,
            self._ask,
            clock=clock,
            tell=lambda name, result, reason: self.told.append((name, result, reason)),
            log=make_logger(self.log),
        )

    async def _ask(self, name: str, deadline: Deadline) -> None:
        self.asked.append((name, asyncio.get_running_loop().time()))
        self.left.append(deadline.remaining())
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.answer()
        finally:
            self.under_way -= 1

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Have the prober run."""
        task = asyncio.create_task(self.prober.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def eject(self, name: str) -> None:
        """Have five calls fail."""
        for _ in range(5):
            call = self.table[name].begin()
            assert call is not None
            call.failed(ProviderFailed("it broke"))

    def states(self) -> list[BreakerState]:
        """Return where each breaker stands."""
        return [self.table[name].view().state for name in self.names]

    def logged(self) -> list[str]:
        """Return the events in the log."""
        return [json.loads(line)["event"] for line in self.log.getvalue().splitlines()]


def test_whoever_is_due_is_asked_within_a_moment() -> None:
    """Each at the end of its own ejection; what passed is half open until a call finds out, and is not asked again."""

    async def scene() -> None:
        it = Scene()
        async with it.running():
            it.eject("eu")
            await asyncio.sleep(5)
            it.eject("us")
            await asyncio.sleep(100)
        [(first, at), (second, later)] = it.asked
        assert ("eu", "us") == (first, second)
        assert 30 <= at <= 30 + LOOK_SECONDS
        assert 35 <= later <= 35 + LOOK_SECONDS
        assert [FREE_PROBE_SECONDS] * 2 == it.left
        assert [HALF_OPEN, HALF_OPEN] == it.states()
        assert [("eu", PASSED, None), ("us", PASSED, None)] == it.told

    run_virtually(scene())


def test_nobody_is_asked_who_is_well() -> None:
    """In an hour without an ejection there is not one free probe."""

    async def scene() -> None:
        it = Scene()
        async with it.running():
            await asyncio.sleep(3600)
        assert [] == it.asked

    run_virtually(scene())


def test_a_dead_one_is_asked_less_and_less_often() -> None:
    """After 30, 60 and 90 s, and then it is left to a caller; without one nothing more is asked."""

    async def refused() -> None:
        raise ProviderUnreachable("no connection")

    async def scene() -> None:
        it = Scene(names=("eu",), answer=refused)
        async with it.running():
            it.eject("eu")
            await asyncio.sleep(3600)
        gaps = [later - at for (_, at), (_, later) in zip(it.asked, it.asked[1:], strict=False)]
        assert 3 == len(it.asked)
        assert 30 <= it.asked[0][1] <= 30 + LOOK_SECONDS
        assert [60, 90] == [gap // 30 * 30 for gap in gaps]
        assert [("eu", FAILED, "no connection")] * 3 == it.told
        assert [HALF_OPEN] == it.states()

    run_virtually(scene())


def test_one_that_never_answers_holds_up_nobody_for_long() -> None:
    """An adapter that does not keep its deadline is cut off; that is a failure, and the others are asked meanwhile."""
    gone: list[str] = []

    async def hangs() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            gone.append("cancelled")

    async def scene() -> None:
        it = Scene(answer=hangs)
        async with it.running():
            it.eject("eu")
            await asyncio.sleep(1)
            it.eject("us")
            await asyncio.sleep(29 + LOOK_SECONDS + FREE_PROBE_SECONDS + LATE_SECONDS)
            assert [("eu", FAILED, "no word within 8 s")] == it.told
            assert (2, 1) == (it.most, it.under_way)
            assert "a free probe failed: no whole answer came from it in time" == it.table["eu"].view().reason
        assert ["cancelled"] * 2 == gone
        assert 0 == it.under_way

    run_virtually(scene())


@pytest.mark.parametrize(
    ("error", "event"), [(ProviderRefused("404"), []), (RuntimeError("broke"), ["adapter_defect"])]
)
def test_what_says_nothing_leaves_it_to_a_call(error: Exception, event: list[str]) -> None:
    """A question that is not answered there, and an adapter's own defect, are nothing against the deployment."""

    async def odd() -> None:
        raise error

    async def scene() -> None:
        it = Scene(names=("eu",), answer=odd)
        async with it.running():
            it.eject("eu")
            await asyncio.sleep(31)
            assert [HALF_OPEN] == it.states()
            call = it.table["eu"].begin()
            assert call is not None
            call.succeeded()
            assert [CLOSED] == it.states()
        [(name, result, reason)] = it.told
        assert ("eu", FreeProbeResult.REFUSED) == (name, result)
        assert reason
        assert event == it.logged()

    run_virtually(scene())


def test_one_that_cannot_be_cut_off_is_not_asked_twice() -> None:
    """An adapter that does not even let itself be cancelled is left to itself, however often its ejections run out."""

    async def stubborn() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(300)
        await asyncio.sleep(300)

    async def scene() -> None:
        it, real = Scene(names=("eu",), answer=stubborn), 0
        async with it.running():
            it.eject("eu")
            for _ in range(250):
                await asyncio.sleep(1)
                call = it.table["eu"].begin()
                if call is not None:
                    real += 1
                    call.failed(ProviderFailed("it broke"))
            assert (1, 3) == (len(it.asked), real)

    run_virtually(scene())


def test_a_changed_table_is_the_one_that_counts() -> None:
    """Who is gone is not asked any more, and who has become another begins closed."""

    async def scene() -> None:
        it = Scene()
        async with it.running():
            it.eject("eu")
            it.eject("us")
            it.table = it.table.renewed(["us", "new"], afresh=["us"])
            it.table.offer_free_probes(["us", "new"])
            await asyncio.sleep(100)
        assert [] == it.asked

    run_virtually(scene())


async def test_who_can_be_asked_is_the_providers_to_say() -> None:
    """Every deployment of a provider with a free probe, whatever its model; the others are never asked by it."""
    async with providers_built() as providers:
        offers = [
            Offer(Deployment(f"{name}-{number}", name, model.name, "eu", endpoint, Secret("a-key")), model, 1)
            for name, endpoint in (("runflow", "http://127.0.0.1:9"), ("prodia", "http://127.0.0.1:9"), ("local", ""))
            for number, model in enumerate(providers[name].models.values())
        ]
        assert {"runflow-0", "runflow-1"} == answering_free(offers, providers)
        deadline = Deadline.after(5, time.monotonic)
        with pytest.raises(ProviderUnreachable):
            await ask_free("runflow-1", deadline, offers=offers, providers=providers)
        for name in ("prodia-0", "local-0", "gone"):
            with pytest.raises(ProviderRefused, match=name):
                await ask_free(name, deadline, offers=offers, providers=providers)


@by_tier(fast=3, slow=22)
def test_callers_meet_a_dead_deployment_hardly_ever(seeds: Iterator[int]) -> None:
    """
    In an hour with a caller each second a region dies and gets well again and again, and is found each time.

    Whoever asks, one call or free probe is under way when it is not closed, and most of a caller's failures are the
    five that open the breaker.
    """

    async def scene(seed: int) -> None:
        chance = random.Random(seed)
        loop = asyncio.get_running_loop()
        dead = False

        async def truth() -> None:
            await asyncio.sleep(chance.uniform(0.01, 3))
            if dead:
                raise ProviderUnreachable("no connection")

        it = Scene(names=("eu",), answer=truth)
        failures = openings = 0
        turns_at = 60.0
        async with it.running():
            while loop.time() < 3600:
                await asyncio.sleep(1)
                if loop.time() >= turns_at:
                    dead = not dead
                    openings += dead
                    turns_at = loop.time() + chance.uniform(60, 400)
                for _ in range(5):
                    call = it.table["eu"].begin()
                    if call is None:
                        break
                    assert it.under_way == 0 or it.states() == [CLOSED]
                    error: ProviderError | None = ProviderUnreachable("no connection") if dead else None
                    failures += error is not None
                    if error is None:
                        call.succeeded()
                    else:
                        call.failed(error)
        assert 1 == it.most
        assert openings >= 3
        # Five to open it, and one more where a free probe passed just before it died or three of them had failed.
        assert failures <= openings * 7

    for seed in seeds:
        run_virtually(scene(seed))
