"""Who asks about what is on hold: one gateway of all, as its configuration says at the moment."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace

import pytest

from gateway.accounting import Account, Attempt, HeldAttempt, Ledger, Resolution, Result
from gateway.reconciliation import Reconciliation, accounts_of
from gateway.settings import ReconcileSettings, settings_from_yaml
from gateway.settings.offers import offered
from gateway.store.leases import Lease
from gateway.telemetry.logs import make_logger
from providers.contract import Money, PriceUnit
from tests.gateway.provided import providers_built

CONFIGURATION = """\
deployments:
  - {name: lab, provider: local, model: classic}
  - {name: paid, provider: local, model: classic, price: {usd: "0.005", valid_from: 2030-01-01, source: the contract}}
"""
ATTEMPT = Attempt("att_1", "seg_1", 0, "acme", "key_1", "lab", "local", "classic", "", "lab@2026-01-01")
AT_ONCE = ReconcileSettings(every_seconds=60, first_seconds=0)
NOON = 1_800_000_000.0


@dataclass
class Gateway:
    """One that asks, in a world where a deployment on this machine is never owed anything."""

    ledger: Ledger
    name: str
    counted: list[tuple[str, Result]] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    def reconciliation(self) -> Reconciliation:
        """Return what asks, counted here."""

        def count(held: HeldAttempt, result: Result, _resolution: Resolution) -> None:
            self.counted.append((held.attempt_id, result))
            self.heard.set()

        return Reconciliation(
            self.ledger,
            holder=self.name,
            wall=lambda: NOON,
            clock=time.monotonic,
            count=count,
            log=make_logger(io.StringIO()),
        )

    async def hold(self, name: str) -> None:
        """Put an attempt on hold."""
        attempt = replace(ATTEMPT, attempt_id=name)
        async with await self.ledger.reserve(attempt, Money(5000), expires_in=60) as reservation:
            await reservation.hold("unanswered")

    async def until_asked(self, times: int) -> None:
        """Return as soon as so many questions have been answered."""
        async with asyncio.timeout(60):
            while len(self.counted) < times:
                self.heard.clear()
                await self.heard.wait()

    def lease(self, holder: str) -> Lease:
        """Return somebody's part in the lease."""
        return Lease(self.ledger.database, "reconcile", holder=holder, seconds=60, wall=lambda: NOON)


@pytest.fixture
async def gateway(database_url: str) -> AsyncIterator[Gateway]:
    """A gateway with an empty ledger in each kind of database."""
    ledger = await Ledger.open(database_url, wall=lambda: NOON, clock=time.monotonic, answer_seconds=10)
    yield Gateway(ledger, "gw_1")
    await ledger.close()


@pytest.fixture
async def accounts() -> AsyncIterator[Mapping[str, Account]]:
    """The accounts of a configuration, by name."""
    settings = settings_from_yaml(CONFIGURATION, environ={})
    async with providers_built() as providers:
        there = offered(settings, providers, callback_url=lambda _: "")
        yield accounts_of(there.offers, providers, there.prices(settings), at=NOON)


async def test_account_has_the_unit_of_the_price_that_holds(accounts: Mapping[str, Account]) -> None:
    """A list price counts seconds; a deployment whose price holds only later has no unit yet."""
    assert {"lab": PriceUnit.SECOND, "paid": None} == {name: account.unit for name, account in accounts.items()}
    assert {"local"} == {account.provider.name for account in accounts.values()}


async def test_asking_begins_at_once_and_ends_when_told(gateway: Gateway, accounts: Mapping[str, Account]) -> None:
    """What is on hold at the start is cleared up, and when it ends nobody is left asking."""
    before = asyncio.all_tasks()
    await gateway.hold("att_1")
    reconciliation = gateway.reconciliation()
    await reconciliation.begin(AT_ONCE, accounts)
    await gateway.until_asked(1)
    await reconciliation.end()
    assert [("att_1", Result.RELEASED)] == gateway.counted
    assert before == asyncio.all_tasks()
    await reconciliation.end()


async def test_other_accounts_take_the_place_of_those_before(gateway: Gateway, accounts: Mapping[str, Account]) -> None:
    """A deployment that a changed configuration brings is asked at once; one asker follows on the other."""
    await gateway.hold("att_1")
    reconciliation = gateway.reconciliation()
    await reconciliation.begin(AT_ONCE, {})
    asking = len(asyncio.all_tasks())
    await reconciliation.begin(AT_ONCE, accounts)
    await gateway.until_asked(1)
    for _ in range(10):  # the question's own task is about to end
        await asyncio.sleep(0)
    assert asking == len(asyncio.all_tasks())
    await reconciliation.end()
    assert [("att_1", Result.RELEASED)] == gateway.counted


async def test_lease_is_left_to_others_when_asking_ends(gateway: Gateway, accounts: Mapping[str, Account]) -> None:
    """Another gateway has it at once, without waiting until it runs out; what another has is not taken from it."""
    await gateway.hold("att_1")
    reconciliation = gateway.reconciliation()
    await reconciliation.begin(AT_ONCE, accounts)
    await gateway.until_asked(1)
    assert not await gateway.lease("gw_2").hold()
    await reconciliation.end()
    other = gateway.lease("gw_2")
    assert await other.hold()
    await reconciliation.begin(AT_ONCE, {})
    await reconciliation.end()
    assert await other.renew()
