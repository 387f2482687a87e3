"""Attempts on hold, cleared up by the provider's word, in both databases."""

from __future__ import annotations

import asyncio
import io
import itertools
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import pytest
from sqlalchemy import text

from gateway.accounting import (
    Account,
    Attempt,
    Cadence,
    HeldAttempt,
    Ledger,
    LedgerUnavailable,
    Reconciler,
    Resolution,
    Result,
    Tally,
    UsageQuery,
    reconciling,
)
from gateway.accounting.reconciling import AT_ONCE, FAILURES_IN_A_ROW, LONGEST_PAUSE_SECONDS, PAGE
from gateway.accounting.resolution import resolve
from gateway.store import Verdict
from gateway.store.leases import Lease
from gateway.telemetry.logs import make_logger
from providers.contract import (
    Deadline,
    Deployment,
    Fate,
    Found,
    Model,
    Money,
    PriceUnit,
    Provider,
    ProviderUnreachable,
    Question,
)

ATTEMPT = Attempt("att_1", "seg_1", 0, "acme", "key_1", "eu", "runflow", "sam-3", "eu", "eu@2026-01-01")
CADENCE = Cadence(every=60, first=10, absent=300)
CHARGED = Found(Fate.CHARGED, Money(4500), "run_1")


class Hand:
    """Both clocks, wound by hand, in seconds since 1970."""

    def __init__(self) -> None:
        """Begin at some time."""
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@dataclass
class Oracle(Provider):
    """A provider that is asked about attempts alone."""

    found: Found | Exception = field(default_factory=lambda: CHARGED)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    by_attempt: dict[str, Found | Exception] = field(default_factory=dict)
    """What it says of single attempts instead."""
    silent: asyncio.Event | None = None
    """Where set, an answer comes only when this is."""
    together: Mapping[str, asyncio.Barrier] = field(default_factory=dict)
    """By attempt: an answer comes only when as many have asked about it."""

    @property
    def name(self) -> str:
        """Its name."""
        return "runflow"

    @property
    def models(self) -> Mapping[str, Model]:
        """None: it sells nothing."""
        return {}

    async def look_up(
        self, _deployment: Deployment, *, attempt_id: str, upstream_ref: str | None, deadline: Deadline
    ) -> Found:
        """Say what it was told to say."""
        assert not deadline.passed
        self.asked.append((attempt_id, upstream_ref))
        await asyncio.sleep(0)
        if attempt_id in self.together:
            await self.together[attempt_id].wait()
        if self.silent is not None:
            await self.silent.wait()
        found = self.by_attempt.get(attempt_id, self.found)
        if isinstance(found, Exception):
            raise found
        return found

    def check(self, _deployment: Deployment) -> None:
        """Take any deployment."""

    async def segment(self, question: Question, deployment: Deployment, **_: Any) -> NoReturn:
        """Fail: nobody buys anything here."""
        pytest.fail(f"{deployment.name} was asked {question}")

    def defaults(self, _environ: Mapping[str, str]) -> Sequence[Deployment]:
        """Return no deployment."""
        return ()

    async def close(self) -> None:
        """Have nothing to let go of."""


def account(oracle: Oracle, name: str = "eu", upstream_account: str = "") -> Account:
    """Return a deployment whose provider is asked."""
    return Account(Deployment(name, "runflow", "sam-3", "eu"), oracle, PriceUnit.SUCCESS, upstream_account)


@dataclass
class Bench:
    """A ledger, an oracle and a clock."""

    ledger: Ledger
    clock: Hand
    oracle: Oracle = field(default_factory=Oracle)
    counted: list[tuple[str, Result, int]] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    log: io.StringIO = field(default_factory=io.StringIO)

    def reconciler(
        self,
        *,
        cadence: Cadence = CADENCE,
        ledger: Ledger | None = None,
        accounts: Mapping[str, Account] | None = None,
        wall: Callable[[], float] | None = None,
    ) -> Reconciler:
        """Return one that knows the deployment `eu`, or others."""

        def count(held: HeldAttempt, result: Result, resolution: Resolution) -> None:
            self.counted.append((held.attempt_id, result, resolution.charge.microusd))
            self.heard.set()

        return Reconciler(
            ledger or self.ledger,
            accounts or {"eu": account(self.oracle)},
            cadence,
            wall=wall or self.clock,
            clock=self.clock,
            sleep=asyncio.sleep,
            count=count,
            log=make_logger(self.log),
        )

    async def hold(self, *names: str, upstream_ref: str | None = None, **others: Any) -> None:
        """Put attempts on hold, one after another."""
        for name in names:
            attempt = replace(ATTEMPT, attempt_id=name, **others)
            async with await self.ledger.reserve(attempt, Money(5000), expires_in=60) as reservation:
                await reservation.hold("unanswered", upstream_ref=upstream_ref)

    async def total(self) -> Tally:
        """Return the sum of everything."""
        return (await self.ledger.usage(UsageQuery())).total


@pytest.fixture
async def bench(database_url: str) -> AsyncIterator[Bench]:
    """An empty ledger in each kind of database."""
    clock = Hand()
    ledger = await Ledger.open(database_url, wall=clock, clock=time.monotonic, answer_seconds=10)
    yield Bench(ledger, clock)
    await ledger.close()


async def test_settled(bench: Bench) -> None:
    """What the provider has billed is charged at its figure, once it is time to ask, and asked about no more."""
    await bench.hold("att_1", upstream_ref="run_1")
    reconciler = bench.reconciler()
    assert 0 == await reconciler.round()
    assert [] == bench.oracle.asked
    bench.clock.now += CADENCE.first
    assert 1 == await reconciler.round()
    assert 0 == await reconciler.round()
    assert [("att_1", "run_1")] == bench.oracle.asked
    assert Tally(attempts=1, settled=1, charged_microusd=4500, cost_microusd=4500) == await bench.total()
    assert [("att_1", Result.SETTLED, 4500)] == bench.counted
    assert '"event":"attempt_reconciled"' in bench.log.getvalue()


async def test_released(bench: Bench) -> None:
    """What the provider has not billed is given back."""
    await bench.hold("att_1")
    bench.oracle.found = Found(Fate.NOT_CHARGED)
    bench.clock.now += CADENCE.first
    assert 1 == await bench.reconciler().round()
    assert Tally(attempts=1, released=1) == await bench.total()


async def test_absence_is_believed_late(bench: Bench) -> None:
    """An attempt that the provider knows nothing of stays on hold until it can no longer be on its way."""
    await bench.hold("att_1")
    bench.oracle.found = Found(Fate.ABSENT)
    reconciler = bench.reconciler()
    asked_at = []
    for _ in range(int(CADENCE.absent) + 1):
        before = len(bench.oracle.asked)
        await reconciler.round()
        if len(bench.oracle.asked) > before:
            asked_at.append(bench.clock.now - 1_800_000_000)
        bench.clock.now += 1
    assert [10, 20, 40, 80, 160, 300] == asked_at
    assert Tally(attempts=1, released=1) == await bench.total()


@pytest.mark.parametrize(
    ("word", "result"),
    [
        (Found(Fate.UNKNOWN), Result.UNKNOWN),
        (ProviderUnreachable("no connection"), Result.FAILED),
        (RuntimeError("a defect of the adapter"), Result.FAILED),
    ],
    ids=["unknown", "unreachable", "defect"],
)
async def test_no_word(bench: Bench, word: Found | Exception, result: Result) -> None:
    """Without word an attempt stays on hold, and is asked about ever more rarely, at last once an hour."""
    await bench.hold("att_1")
    bench.oracle.found = word
    reconciler = bench.reconciler()
    asked_at: list[float] = []
    while len(asked_at) < 12:
        await reconciler.round()
        asked_at += [bench.clock.now] * (len(bench.oracle.asked) - len(asked_at))
        bench.clock.now += 10 if len(asked_at) < 6 else 80
    pauses = [round(after - before) for before, after in itertools.pairwise(asked_at)]
    assert [10, 20, 40, 80, 160, 320, 640, 1280, 2560, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS] == pauses
    assert {result} == {each for _, each, _ in bench.counted}
    assert Tally(attempts=1, held=1, held_microusd=5000) == await bench.total()


async def test_one_that_cannot_be_read_keeps_no_other_waiting(bench: Bench) -> None:
    """Each attempt has its own next look: those that can be read are cleared up in the first round."""
    names = [f"att_{number}" for number in range(9)]
    await bench.hold(*names)
    bench.oracle.by_attempt = dict.fromkeys(names[::3], ProviderUnreachable("404"))
    bench.clock.now += CADENCE.first
    reconciler = bench.reconciler()
    assert 6 == await reconciler.round()
    assert 0 == await reconciler.round()
    assert sorted(names) == sorted(name for name, _ in bench.oracle.asked)
    bench.oracle.by_attempt.clear()
    bench.clock.now += CADENCE.first
    assert 3 == await reconciler.round()


async def test_an_account_that_fails_in_a_row_rests(bench: Bench) -> None:
    """It is asked a few questions more at most, then one now and again; and all that waits once it answers."""
    names = [f"att_{number:02}" for number in range(40)]
    await bench.hold(*names)
    bench.oracle.found = ProviderUnreachable("no connection")
    bench.clock.now += CADENCE.first
    reconciler = bench.reconciler()
    await reconciler.round()
    assert len(bench.oracle.asked) < FAILURES_IN_A_ROW + AT_ONCE
    for _ in range(5):
        before = len(bench.oracle.asked)
        await reconciler.round()
        assert before == len(bench.oracle.asked)
        bench.clock.now += 60
        await reconciler.round()
        assert before + 1 == len(bench.oracle.asked)
    bench.oracle.found = CHARGED
    bench.clock.now += 60
    cleared = 0
    for _ in range(5):
        cleared += await reconciler.round()
        bench.clock.now += 400
    assert len(names) == cleared


async def test_a_dead_place_keeps_no_other_waiting_for_a_thousand_holds(bench: Bench) -> None:
    """Of a thousand holds of three deployments those of the two that answer are cleared up within a minute."""
    dead = Oracle(silent=asyncio.Event())
    oracles = {"dead": dead, "eu": bench.oracle, "us": Oracle()}
    names = [("dead", "eu", "us")[number % 3] for number in range(1000)]
    await asyncio.gather(*(bench.hold(f"att_{number:04}", deployment=name) for number, name in enumerate(names)))
    reconciler = bench.reconciler(
        cadence=Cadence(every=0.1, first=0, absent=300),
        accounts={name: account(oracle, name, name) for name, oracle in oracles.items()},
    )
    running = asyncio.ensure_future(reconciler.run())
    async with asyncio.timeout(60):
        while (await bench.total()).settled < 666:  # noqa: ASYNC110 - nobody tells of the last one
            await asyncio.sleep(0.05)
    running.cancel()
    total = await bench.total()
    assert (666, 334, 0) == (total.settled, total.held, total.released)
    assert {"eu", "us"} == {names[int(attempt.removeprefix("att_"))] for attempt, _, _ in bench.counted}
    assert len(dead.asked) == AT_ONCE


async def test_accounts_are_asked_side_by_side(bench: Bench) -> None:
    """While one takes its time, however many rounds, the holds of another one are cleared up."""
    silent = Oracle(silent=asyncio.Event())
    await bench.hold("slow_1", deployment="slow")
    reconciler = bench.reconciler(
        cadence=Cadence(every=0.01, first=0, absent=300),
        accounts={"eu": account(bench.oracle, "eu", "a"), "slow": account(silent, "slow", "b")},
    )
    running = asyncio.ensure_future(reconciler.run())
    async with asyncio.timeout(30):
        for number in range(3):
            await bench.hold(f"att_{number}")
            while (f"att_{number}", Result.SETTLED, 4500) not in bench.counted:
                await bench.heard.wait()
                bench.heard.clear()
    assert [f"att_{number}" for number in range(3)] == [name for name, _ in bench.oracle.asked]
    assert 3 == (await bench.total()).settled
    assert [("slow_1", None)] == silent.asked
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize(
    ("found", "held"),
    [(Found(Fate.ABSENT), 5000), (Found(Fate.NOT_CHARGED), 5000), (CHARGED, 0)],
    ids=["absent", "not_charged", "charged"],
)
async def test_another_account_is_believed_only_in_what_it_billed(bench: Bench, found: Found, held: int) -> None:
    """Where endpoint or credential have changed since, no word of the new ones releases a hold."""
    await bench.hold("att_1", upstream_account="old")
    bench.oracle.found = found
    reconciler = bench.reconciler(accounts={"eu": account(bench.oracle, "eu", "new")})
    for _ in range(4):
        bench.clock.now += 2 * CADENCE.absent
        await reconciler.round()
    assert held == (await bench.total()).held_microusd


async def test_the_account_is_asked_whatever_it_is_called_now(bench: Bench) -> None:
    """A hold goes to the deployment with the endpoint and the account that it was made with, not to its namesake."""
    namesake = Oracle(Found(Fate.ABSENT))
    await bench.hold("att_1", upstream_account="old")
    bench.clock.now += CADENCE.first
    accounts = {"eu": account(namesake, "eu", "new"), "renamed": account(bench.oracle, "renamed", "old")}
    assert 1 == await bench.reconciler(accounts=accounts).round()
    assert [] == namesake.asked


@pytest.mark.parametrize("ahead", [7200.0, -7200.0], ids=["forward", "back"])
async def test_the_calendar_may_jump(bench: Bench, ahead: float) -> None:
    """Set two hours forward or back, absence is still believed, after the seconds that were really seen to pass."""
    await bench.hold("att_1")
    bench.oracle.found = Found(Fate.ABSENT)
    reconciler = bench.reconciler(wall=lambda: bench.clock() + ahead)
    bench.clock.now += CADENCE.first
    assert 0 == await reconciler.round()
    for _ in range(40):
        bench.clock.now += CADENCE.first
        await reconciler.round()
    assert Tally(attempts=1, released=1) == await bench.total()


@pytest.mark.parametrize("change", [{"deployment": "gone"}, {"model": "sam-2"}, {"provider": "prodia"}])
async def test_left_alone(bench: Bench, change: dict[str, str]) -> None:
    """An attempt of a deployment that is gone, or that means another model now, is left alone."""
    await bench.hold("att_1", **change)
    bench.clock.now += 10_000
    assert 0 == await bench.reconciler().round()
    assert [] == bench.oracle.asked
    assert 5000 == (await bench.total()).held_microusd


async def test_two_gateways(bench: Bench, database_url: str) -> None:
    """Two that clear up at once resolve each attempt once, and one of them learns that it came second."""
    names = [f"att_{number}" for number in range(20)]
    await bench.hold(*names)
    bench.oracle.together = {name: asyncio.Barrier(2) for name in names}
    bench.clock.now += CADENCE.first
    other = await Ledger.open(database_url, wall=lambda: bench.clock() + 0.001, clock=time.monotonic, answer_seconds=10)
    cleared = await asyncio.gather(bench.reconciler().round(), bench.reconciler(ledger=other).round())
    await other.close()
    assert 20 == sum(cleared)
    assert Tally(attempts=20, settled=20, charged_microusd=90_000, cost_microusd=90_000) == await bench.total()
    assert sorted(names * 2) == sorted(name for name, _, _ in bench.counted)
    assert 20 == sum(result is Result.BEATEN for _, result, _ in bench.counted)


async def test_many(bench: Bench) -> None:
    """Whatever number stands on hold for good, the newest are asked about at once and all of them in turn."""
    names = [f"att_{number:04}" for number in range(2 * PAGE + 50)]
    await asyncio.gather(*(bench.hold(name) for name in names))
    bench.oracle.found = Found(Fate.UNKNOWN)
    bench.clock.now += CADENCE.first
    reconciler = bench.reconciler()
    await reconciler.round()
    assert 2 * PAGE == len(bench.oracle.asked)
    await reconciler.round()
    assert set(names) == {name for name, _ in bench.oracle.asked}
    await bench.hold("att_newest")
    bench.clock.now += CADENCE.first
    await reconciler.round()
    assert ("att_newest", None) in bench.oracle.asked


async def test_soon_after_a_hold(bench: Bench) -> None:
    """A hold wakes whoever clears up: no round has to come around for it."""
    running = asyncio.ensure_future(bench.reconciler(cadence=Cadence(every=3600, first=0, absent=300)).run())
    await asyncio.sleep(0)
    await bench.hold("att_1")
    async with asyncio.timeout(30):
        await bench.heard.wait()
    assert 1 == (await bench.total()).settled
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_an_abandoned_attempt_is_cleared_up(bench: Bench) -> None:
    """What a sweep put on hold is asked about by our own name for it."""
    await bench.ledger.reserve(ATTEMPT, Money(5000), expires_in=60)
    bench.clock.now += 1000
    assert 1 == await bench.ledger.sweep()
    assert bench.ledger.new_hold.is_set()
    bench.clock.now += CADENCE.first
    assert 1 == await bench.reconciler().round()
    assert 4500 == (await bench.total()).charged_microusd


async def test_late_own_ending(bench: Bench) -> None:
    """An attempt that was held for abandoned and then settled by its own gateway is not resolved again."""
    reservation = await bench.ledger.reserve(ATTEMPT, Money(5000), expires_in=60)
    bench.clock.now += 1000
    await bench.ledger.sweep()
    [held] = await bench.ledger.held(10)
    await reservation.settle(charge=Money(5000), cost=Money(5000), reported=None, upstream_ref=None)
    assert [] == await bench.ledger.held(10)
    assert Verdict.CLASHED is await bench.ledger.release_held(held, reason="reconciled_absent")
    assert 5000 == (await bench.total()).charged_microusd


async def test_ledger_down(bench: Bench) -> None:
    """A ledger out of reach ends a round, and what could not be written is asked about again."""
    await bench.hold("att_1")
    bench.clock.now += CADENCE.first
    await bench.ledger.journal.close()
    assert 0 == await bench.reconciler().round()
    assert [("att_1", Result.FAILED, 0)] == bench.counted
    assert "reconciliation_failed" in bench.log.getvalue()
    with pytest.raises(LedgerUnavailable):
        await bench.ledger.release_held((await bench.ledger.held(1))[0], reason="x")


HELD = HeldAttempt(7, "att_1", "eu", "runflow", "sam-3", 5000, 0, None, "acme", "eu@2026-01-01")


@pytest.mark.parametrize(
    ("found", "unit", "charge", "cost"),
    [
        (Found(Fate.CHARGED, Money(4000)), PriceUnit.SUCCESS, 4000, 4000),
        (Found(Fate.CHARGED, Money(9000)), PriceUnit.SUCCESS, 5000, 9000),
        (Found(Fate.CHARGED, Money(-1)), PriceUnit.SUCCESS, 5000, 5000),
        (Found(Fate.CHARGED), PriceUnit.SECOND, 5000, 5000),
        (Found(Fate.CHARGED), None, 5000, 5000),
        (Found(Fate.NOT_CHARGED), PriceUnit.SUCCESS, 0, 0),
        (Found(Fate.NOT_CHARGED), PriceUnit.REQUEST, 5000, 5000),
        (Found(Fate.ABSENT), PriceUnit.REQUEST, 0, 0),
    ],
)
def test_resolutions(found: Found, unit: PriceUnit | None, charge: int, cost: int) -> None:
    """The tenant owes what is billed and no more than was set aside; without a figure, what was set aside."""
    resolution = resolve(found, HELD, None, unit, believe_absence=True)
    assert resolution is not None
    assert (charge, cost) == (resolution.charge.microusd, resolution.cost.microusd)
    assert (charge == 0) == resolution.release
    assert max(cost - HELD.amount_microusd, 0) == resolution.uncharged.microusd


@pytest.mark.parametrize(
    ("terms", "reported", "charge", "cost"),
    [
        ("*1.25", 3000, 3750, 3000),
        ("*1.15", 4347, 5000, 4347),
        ("*1.15", 3001, 3452, 3001),
        ("*1.25", 4001, 5000, 4001),
        ("*1.25", None, 5000, 4000),
        ("*0.5", None, 5000, 10_000),
        ("*0", 3000, 0, 3000),
        ("=0.005000", 3000, 5000, 3000),
        ("=0.005000", 9000, 5000, 9000),
        ("=0.005000", None, 5000, 5000),
    ],
)
def test_the_terms_of_the_reservation(terms: str, reported: int | None, charge: int, cost: int) -> None:
    """The tenant pays by the markup or the price that was agreed, rounded up; the cost is the provider's figure."""
    found = Found(Fate.CHARGED, None if reported is None else Money(reported))
    held = HELD._replace(price_id=f"eu@2026-01-01{terms}")
    resolution = resolve(found, held, None, PriceUnit.SUCCESS, believe_absence=False)
    assert resolution is not None
    assert (charge, cost) == (resolution.charge.microusd, resolution.cost.microusd)


async def test_a_markup_is_charged(bench: Bench) -> None:
    """What a lookup finds is charged by the price id on the reservation, and the rest is the margin."""
    await bench.hold("att_1", price_id="eu@2026-01-01*1.1")
    [held] = await bench.ledger.held(1)
    assert ("acme", "eu@2026-01-01*1.1") == (held.tenant, held.price_id)
    bench.clock.now += CADENCE.first
    await bench.reconciler().round()
    assert Tally(attempts=1, settled=1, charged_microusd=4950, cost_microusd=4500) == await bench.total()


async def test_a_forced_round(bench: Bench) -> None:
    """It asks about everything on hold, long before its time, however much that is."""
    names = [f"att_{number:04}" for number in range(PAGE + 50)]
    await asyncio.gather(*(bench.hold(name) for name in names))
    assert len(names) == await bench.reconciler().round(force=True)
    assert set(names) == {name for name, _ in bench.oracle.asked}


@pytest.mark.parametrize(
    "word", [CHARGED, Found(Fate.UNKNOWN), ProviderUnreachable("no connection")], ids=["charged", "unknown", "failed"]
)
async def test_a_forced_round_over_more_than_are_remembered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, word: Found | Exception
) -> None:
    """However many are on hold, and whatever is said of them, all are asked about, or a few where nobody answers."""
    monkeypatch.setattr(reconciling, "_MOST_REMEMBERED", PAGE // 2)
    names = [f"att_{number:04}" for number in range(3 * PAGE)]
    await asyncio.gather(*(bench.hold(name) for name in names))
    bench.oracle.found = word
    cleared = await bench.reconciler().round(force=True)
    assert cleared == (len(names) if word is CHARGED else 0)
    assert isinstance(word, Exception) or set(names) == {name for name, _ in bench.oracle.asked}


async def test_one_gateway_at_a_time(bench: Bench, database_url: str) -> None:
    """Each gateway asks once when it starts; then the one that has the lease, and when it dies the other one."""
    ledger = await Ledger.open(database_url, wall=bench.clock, clock=time.monotonic, answer_seconds=10)
    heir = Bench(ledger, bench.clock)
    lease, awaited = (
        Lease(each.ledger.database, "reconcile", holder=holder, seconds=3600, wall=bench.clock)
        for each, holder in ((bench, "gw_1"), (heir, "gw_2"))
    )
    refused = asyncio.Event()

    async def may() -> bool:
        mine = await awaited.hold()
        refused.set()
        return mine

    assert await lease.hold()
    await bench.hold("att_0")
    eager = Cadence(every=0.01, first=0, absent=300)
    waiting = asyncio.ensure_future(heir.reconciler(cadence=eager).run(may))
    async with asyncio.timeout(30):
        await heir.heard.wait()
    heir.heard.clear()
    refused.clear()
    await bench.hold("att_1")
    asking = asyncio.ensure_future(bench.reconciler(cadence=eager).run(lease.hold))
    async with asyncio.timeout(30):
        await bench.heard.wait()
        await refused.wait()
    asking.cancel()
    await asyncio.wait({asking})
    await bench.hold("att_2")
    assert [("att_0", None)] == heir.oracle.asked
    past = text("UPDATE leases SET expires_at = 0")
    await bench.ledger.database.write(lambda connection: connection.execute(past))
    async with asyncio.timeout(30):
        await heir.heard.wait()
    waiting.cancel()
    await asyncio.wait({waiting})
    assert [("att_1", None)] == bench.oracle.asked
    assert [("att_0", None), ("att_2", None)] == heir.oracle.asked
    await ledger.close()


@pytest.mark.parametrize(("fate", "believe"), [(Fate.UNKNOWN, True), (Fate.ABSENT, False)])
def test_no_resolution(fate: Fate, *, believe: bool) -> None:
    """Without word, and while absence may be mere lateness, a hold stays."""
    assert resolve(Found(fate), HELD, None, PriceUnit.SUCCESS, believe_absence=believe) is None
