"""The life of reservations, in both databases."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from gateway.accounting import (
    AlreadyResolved,
    Attempt,
    AttemptRefused,
    Ledger,
    LedgerUnavailable,
    Reservation,
    Tally,
    UsageQuery,
)
from providers.contract import NOTHING, Money
from tests.gateway.store.cutting_proxy import Cut, CuttingProxy
from tests.servers import Postgres

ATTEMPT = Attempt("att_1", "seg_1", 0, "acme", "key_1", "eu", "runflow", "sam-3", "eu", "eu@2026-01-01")


class Hand:
    """A clock that is wound by hand, in seconds since 1970."""

    def __init__(self) -> None:
        """Begin at some time."""
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def wall() -> Hand:
    """The ledger's wall clock."""
    return Hand()


@pytest.fixture
async def ledger(database_url: str, wall: Hand) -> AsyncIterator[Ledger]:
    """An empty ledger in each kind of database."""
    opened = await Ledger.open(database_url, wall=wall, clock=time.monotonic, answer_seconds=10)
    yield opened
    await opened.close()


async def total(ledger: Ledger) -> Tally:
    """Return the sum of everything."""
    return (await ledger.usage(UsageQuery())).total


async def settle(reservation: Reservation, charge: int) -> None:
    """Settle with an equal cost."""
    await reservation.settle(charge=Money(charge), cost=Money(charge), reported=None, upstream_ref=None)


async def test_reserved_money_is_in_the_ledger_before_it_can_be_spent(ledger: Ledger) -> None:
    """What `reserve` returns for stands open in the ledger."""
    reservation = await ledger.reserve(ATTEMPT, Money(5000), expires_in=60)
    assert (reservation.attempt_id, reservation.amount) == ("att_1", Money(5000))
    assert await total(ledger) == Tally(attempts=1, open=1, open_microusd=5000)


async def test_a_settlement_charges(ledger: Ledger) -> None:
    """A settled attempt owes its charge and its cost, and nothing stays open."""
    async with await ledger.reserve(ATTEMPT, Money(5000), expires_in=60) as reservation:
        await reservation.settle(charge=Money(4000), cost=Money(4500), reported=Money(4500), upstream_ref="run_1")
    assert await total(ledger) == Tally(attempts=1, settled=1, charged_microusd=4000, cost_microusd=4500)


async def test_a_release_costs_nothing(ledger: Ledger) -> None:
    """A released attempt owes nothing."""
    async with await ledger.reserve(ATTEMPT, Money(5000), expires_in=60) as reservation:
        await reservation.release("unreachable")
    assert await total(ledger) == Tally(attempts=1, released=1)


async def test_a_hold_keeps_the_money(ledger: Ledger) -> None:
    """A held attempt keeps all that was reserved, whatever its provider calls it."""
    async with await ledger.reserve(ATTEMPT, Money(5000), expires_in=60) as reservation:
        await reservation.hold("unanswered", upstream_ref="run\x00\ud800" + "x" * 1000)
    assert await total(ledger) == Tally(attempts=1, held=1, held_microusd=5000)


async def test_what_is_left_open_is_held(ledger: Ledger) -> None:
    """A block that ends without an ending, by an error or by a return, holds the money."""
    with pytest.raises(ZeroDivisionError):
        async with await ledger.reserve(ATTEMPT, Money(5000), expires_in=60):
            _ = 1 // 0
    async with await ledger.reserve(replace(ATTEMPT, attempt_id="att_2"), Money(300), expires_in=60):
        pass
    assert await total(ledger) == Tally(attempts=2, held=2, held_microusd=5300)


async def test_a_cancelled_call_is_held(ledger: Ledger) -> None:
    """Cancelling a caller in the middle of its call, and again while it cleans up, leaves a hold."""
    inside = asyncio.Event()

    async def call() -> None:
        async with await ledger.reserve(ATTEMPT, Money(5000), expires_in=60):
            inside.set()
            await asyncio.Event().wait()

    caller = asyncio.create_task(call())
    await inside.wait()
    caller.cancel()
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await ledger.journal.close()
    assert await total(ledger) == Tally(attempts=1, held=1, held_microusd=5000)


async def test_a_caller_that_goes_away_while_reserving_leaves_nothing_open(ledger: Ledger) -> None:
    """A reservation whose caller was cancelled before it had it is released."""
    caller = asyncio.create_task(ledger.reserve(ATTEMPT, Money(5000), expires_in=60))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await ledger.journal.close()
    assert await total(ledger) == Tally(attempts=1, released=1)


async def test_a_reservation_ends_once(ledger: Ledger) -> None:
    """Each second ending is refused and changes nothing."""
    reservation = await ledger.reserve(ATTEMPT, Money(5000), expires_in=60)
    await settle(reservation, 5000)
    with pytest.raises(AlreadyResolved, match="att_1 has ended as settle, so it cannot settle"):
        await settle(reservation, 1)
    with pytest.raises(AlreadyResolved, match="cannot release"):
        await reservation.release("refused")
    with pytest.raises(AlreadyResolved, match="cannot hold"):
        await reservation.hold("unanswered")
    assert await total(ledger) == Tally(attempts=1, settled=1, charged_microusd=5000, cost_microusd=5000)


@pytest.mark.parametrize(("charge", "cost"), [(5001, 5000), (-1, 0), (0, -1)])
async def test_impossible_settlements_are_refused(ledger: Ledger, charge: int, cost: int) -> None:
    """A charge beyond the reservation and negative amounts are errors, after which the reservation is still open."""
    reservation = await ledger.reserve(ATTEMPT, Money(5000), expires_in=60)
    with pytest.raises(ValueError, match=r"micro-dollars|negative"):
        await reservation.settle(charge=Money(charge), cost=Money(cost), reported=None, upstream_ref=None)
    await reservation.release("refused")
    assert await total(ledger) == Tally(attempts=1, released=1)


async def test_an_attempt_is_reserved_once(ledger: Ledger) -> None:
    """An id that was used before is refused, and so is a negative amount."""
    await ledger.reserve(ATTEMPT, Money(5000), expires_in=60)
    with pytest.raises(AttemptRefused, match="att_1"):
        await ledger.reserve(ATTEMPT, Money(6000), expires_in=60)
    with pytest.raises(ValueError, match="reserve from 0"):
        await ledger.reserve(replace(ATTEMPT, attempt_id="att_2"), Money(-1), expires_in=60)
    assert await total(ledger) == Tally(attempts=1, open=1, open_microusd=5000)


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "two\nlines"])
async def test_tags_that_no_report_could_read_are_refused(ledger: Ledger, text: str) -> None:
    """A tag that one of the databases cannot give back is refused before anything is reserved."""
    for tag in ((text, "a"), ("team", text)):
        with pytest.raises(AttemptRefused, match="printable"):
            await ledger.reserve(replace(ATTEMPT, tags=(tag,)), Money(5000), expires_in=60)
    assert await total(ledger) == Tally()


async def test_the_sweep_holds_what_nobody_has_ended_in_time(ledger: Ledger, wall: Hand, database_url: str) -> None:
    """Only what is past its time and the grace is held, once, however many gateways sweep at once."""
    other = await Ledger.open(database_url, wall=lambda: wall.now + 0.001, clock=time.monotonic, answer_seconds=10)
    for number, expires_in in enumerate([10, 20, 3600]):
        await ledger.reserve(replace(ATTEMPT, attempt_id=f"att_{number}"), Money(5000), expires_in=expires_in)
    assert await ledger.sweep() == 0
    wall.now += 15
    assert await ledger.sweep(grace_seconds=6) == 0
    both = [ledger, other, ledger, other]
    assert sum(await asyncio.gather(*(gateway.sweep(grace_seconds=5) for gateway in both))) == 1
    await other.close()
    wall.now += 2 * 3600 - 15
    late = await ledger.reserve(replace(ATTEMPT, attempt_id="att_late"), Money(5000), expires_in=1)
    assert await ledger.sweep() == 2
    await late.release("refused")
    wall.now += 2 * 3600
    assert await ledger.sweep() == 0
    assert await total(ledger) == Tally(attempts=4, held=3, released=1, held_microusd=15000)


async def test_a_late_settlement_resolves_the_hold(ledger: Ledger, wall: Hand) -> None:
    """An answer that comes after the sweep is charged all the same, and the hold is gone."""
    reservation = await ledger.reserve(ATTEMPT, Money(5000), expires_in=10)
    wall.now += 60
    assert await ledger.sweep() == 1
    await settle(reservation, 4000)
    assert await total(ledger) == Tally(attempts=1, settled=1, charged_microusd=4000, cost_microusd=4000)
    assert await ledger.sweep() == 0


@pytest.mark.parametrize("seed", range(3))
async def test_every_micro_dollar_is_somewhere(ledger: Ledger, seed: int) -> None:
    """Over random endings by many callers, what was reserved is what is charged, held, open and given back."""
    rng = random.Random(seed)
    expected = Tally()
    plans = [(rng.randrange(10_000), rng.choice(["settle", "release", "hold", "open", "left"])) for _ in range(200)]
    for amount, ending in plans:
        spent = amount // 2
        expected += {
            "settle": Tally(attempts=1, settled=1, charged_microusd=spent, cost_microusd=spent),
            "release": Tally(attempts=1, released=1),
            "open": Tally(attempts=1, open=1, open_microusd=amount),
        }.get(ending, Tally(attempts=1, held=1, held_microusd=amount))

    async def spend(number: int, amount: int, ending: str) -> None:
        attempt = replace(ATTEMPT, attempt_id=f"att_{number}")
        reservation = await ledger.reserve(attempt, Money(amount), expires_in=60)
        if ending == "open":
            return
        async with reservation:
            if ending == "settle":
                await settle(reservation, amount // 2)
            elif ending == "release":
                await reservation.release("refused")
            elif ending == "hold":
                await reservation.hold("unanswered")

    await asyncio.gather(*(spend(number, *plan) for number, plan in enumerate(plans)))
    assert await total(ledger) == expected


async def test_a_thousand_attempts_share_few_transactions(ledger: Ledger) -> None:
    """The transactions of 1,000 concurrent attempts are at most a quarter of their entries."""

    async def spend(number: int) -> None:
        async with await ledger.reserve(replace(ATTEMPT, attempt_id=f"att_{number}"), Money(7), expires_in=60) as held:
            await settle(held, 7)

    await asyncio.gather(*map(spend, range(1000)))
    assert await total(ledger) == Tally(attempts=1000, settled=1000, charged_microusd=7000, cost_microusd=7000)
    assert ledger.journal.operations == 2000
    assert ledger.journal.transactions <= 500


@pytest.mark.needs("postgres")
async def test_a_reservation_that_nobody_got_is_released(own_postgres: Postgres, wall: Hand) -> None:
    """A reservation that was committed while its connection was cut and the server lost is refused, then released."""
    proxy = CuttingProxy(own_postgres.port)
    await proxy.start()
    url = own_postgres.url(port=proxy.port)
    ledger = await Ledger.open(url, wall=wall, clock=time.monotonic, answer_seconds=5)
    assert await ledger.ready()
    proxy.cut, proxy.stays_away = Cut.AFTER, True
    with pytest.raises(LedgerUnavailable) as refused:
        await ledger.reserve(ATTEMPT, Money(5000), expires_in=60)
    assert not refused.value.certain
    assert not await ledger.ready()
    proxy.stays_away = False
    await proxy.start()
    await ledger.close(patience_seconds=20)
    await proxy.stop()
    again = await Ledger.open(own_postgres.url(), wall=wall, clock=time.monotonic)
    assert await total(again) == Tally(attempts=1, released=1)
    await again.close()


@pytest.mark.needs("postgres")
async def test_a_bought_answer_is_not_lost_with_the_server(own_postgres: Postgres, wall: Hand) -> None:
    """A settlement while the server is gone returns at once, is counted as parked, and is written when it is back."""
    ledger = await Ledger.open(own_postgres.url(), wall=wall, clock=time.monotonic, answer_seconds=1)
    async with await ledger.reserve(ATTEMPT, Money(5000), expires_in=60) as reservation:
        own_postgres.crash()
        await settle(reservation, 5000)
    assert ledger.parked == 1
    with pytest.raises(LedgerUnavailable):
        await ledger.reserve(replace(ATTEMPT, attempt_id="att_2"), Money(5000), expires_in=60)
    own_postgres.start()
    await ledger.journal.close(patience_seconds=20)
    assert ledger.parked == 0
    assert await total(ledger) == Tally(attempts=1, settled=1, charged_microusd=5000, cost_microusd=5000)
    await ledger.close()


def test_nothing_is_nothing() -> None:
    """An empty tally is the neutral one."""
    assert Tally(attempts=1, charged_microusd=NOTHING.microusd) + Tally() == Tally(attempts=1)
