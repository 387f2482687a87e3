"""What a crash has left open is put on hold while the gateway runs, in both databases."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from gateway.accounting import Attempt, Ledger, Tally, UsageQuery
from gateway.accounting.abandoned import SWEEP_SECONDS, sweep_forever
from gateway.store.leases import Lease
from gateway.telemetry.logs import make_logger
from providers.contract import Money

ATTEMPT = Attempt("att_1", "seg_1", 0, "acme", "key_1", "eu", "runflow", "sam-3", "eu", "eu@2026-01-01")
NOON = 1_800_000_000.0


@dataclass
class Rounds:
    """Pauses that last until the test goes on."""

    reached: asyncio.Queue[float] = field(default_factory=asyncio.Queue)
    over: asyncio.Queue[None] = field(default_factory=asyncio.Queue)

    async def sleep(self, seconds: float, /) -> None:
        """Wait until the test goes on."""
        self.reached.put_nowait(seconds)
        await self.over.get()

    async def until_swept(self) -> float:
        """Return as soon as a round is over, with the pause before the next one, in seconds."""
        async with asyncio.timeout(60):
            return await self.reached.get()


@dataclass
class Hand:
    """A monotonic clock, wound by hand."""

    now: float = 0.0

    def __call__(self) -> float:
        """Return seconds."""
        return self.now


@dataclass
class Gateway:
    """One that sweeps."""

    ledger: Ledger
    lease: Lease
    clock: Hand
    now: float = NOON
    grace_seconds: float = 5.0
    rounds: Rounds = field(default_factory=Rounds)
    log: io.StringIO = field(default_factory=io.StringIO)

    @asynccontextmanager
    async def sweeping(self) -> AsyncIterator[None]:
        """Sweep while the block lasts; the first round is over when it begins."""
        task = asyncio.create_task(
            sweep_forever(
                self.ledger,
                self.lease,
                grace_seconds=lambda: self.grace_seconds,
                sleep=self.rounds.sleep,
                log=make_logger(self.log),
            )
        )
        try:
            assert SWEEP_SECONDS == await self.rounds.until_swept()
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def sweep_again(self) -> None:
        """Have another round."""
        self.rounds.over.put_nowait(None)
        await self.rounds.until_swept()

    async def leave_open(self, name: str) -> None:
        """Reserve for ten seconds, and never come back."""
        await self.ledger.reserve(replace(ATTEMPT, attempt_id=name), Money(5000), expires_in=10)

    async def held(self) -> int:
        """Return how many attempts are on hold."""
        return (await self.ledger.usage(UsageQuery())).total.held

    def events(self) -> list[str]:
        """Return what was logged."""
        return [json.loads(line)["event"] for line in self.log.getvalue().splitlines()]


@asynccontextmanager
async def opened(url: str, name: str) -> AsyncIterator[Gateway]:
    """Open one gateway's ledger."""
    clock = Hand()
    ledger = await Ledger.open(url, wall=lambda: gateway.now, clock=clock, answer_seconds=10)
    lease = Lease(ledger.database, "sweep", holder=name, seconds=30, wall=lambda: gateway.now)
    gateway = Gateway(ledger, lease, clock)
    try:
        yield gateway
    finally:
        await ledger.close()


@pytest.fixture
async def one(database_url: str) -> AsyncIterator[Gateway]:
    """A gateway."""
    async with opened(database_url, "gw_1") as gateway:
        yield gateway


@pytest.fixture
async def other(database_url: str, one: Gateway) -> AsyncIterator[Gateway]:
    """Another one on the same database."""
    async with opened(database_url, "gw_2") as gateway:
        yield gateway


async def test_every_gateway_looks_at_its_start(one: Gateway, other: Gateway) -> None:
    """Although another has the lease: it may have crashed with it."""
    await one.leave_open("att_1")
    assert await one.lease.hold()
    other.now += 16
    async with other.sweeping():
        assert (1, ["reservations_abandoned"]) == (await other.held(), other.events())


async def test_later_one_gateway_looks_for_all(one: Gateway, other: Gateway) -> None:
    """Whoever has the lease holds what was left open since; the other does when it has the lease."""
    async with one.sweeping(), other.sweeping():
        await one.sweep_again()
        await one.leave_open("att_1")
        one.now = other.now = NOON + 16
        await other.sweep_again()
        assert 0 == await other.held()
        await one.sweep_again()
        assert 1 == await one.held()
        await one.leave_open("att_2")
        await one.lease.leave()
        one.now = other.now = NOON + 32
        await other.sweep_again()
    assert Tally(attempts=2, held=2, held_microusd=10_000) == (await one.ledger.usage(UsageQuery())).total
    assert ([1, 1], []) == ([len(each.events()) for each in (one, other)], one.events()[1:])


async def test_grace_is_that_of_the_moment(one: Gateway) -> None:
    """A configuration that gives more time gives it from the next round on."""
    await one.leave_open("att_1")
    one.grace_seconds = 60.0
    one.now += 16
    async with one.sweeping():
        assert (0, []) == (await one.held(), one.events())
        one.grace_seconds = 5.0
        await one.sweep_again()
        assert 1 == await one.held()


async def test_sweeping_goes_on_when_the_database_is_back(one: Gateway) -> None:
    """A round in which the ledger cannot be read is logged, and the next one that can holds what is open."""
    await one.leave_open("att_1")
    one.now += 16

    async def rename(before: str, after: str) -> None:
        statement = f"ALTER TABLE {before} RENAME TO {after}"
        await one.ledger.database.write(lambda connection: connection.exec_driver_sql(statement))

    await rename("entries", "away")
    async with one.sweeping():
        assert ["sweep_failed"] == one.events()
        await rename("away", "entries")
        await one.sweep_again()
    assert (1, ["sweep_failed", "reservations_abandoned"]) == (await one.held(), one.events())


@pytest.mark.parametrize("ahead", [7200.0, -7200.0], ids=["forward", "back"])
async def test_the_calendar_may_jump(one: Gateway, other: Gateway, ahead: float) -> None:
    """What a dead gateway left open is held after its own seconds, though the calendar was set two hours away."""
    await one.leave_open("att_1")
    async with other.sweeping():
        assert 0 == await other.held()
        one.now = other.now = NOON + ahead
        await other.sweep_again()
        other.clock.now += 16
        await other.sweep_again()
        assert 1 == await other.held()
        await one.leave_open("att_2")
        other.clock.now += 16
        one.now = other.now = NOON + ahead + 16
        await other.sweep_again()
        assert 2 == await other.held()
