"""Work that one gateway at a time does, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text

from gateway.store import Database, LedgerUnavailable, open_database
from gateway.store.leases import Lease

SECONDS = 30.0


@dataclass
class Wall:
    """A clock that is set by hand."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        """Return seconds since 1970."""
        return self.now


@dataclass(frozen=True)
class Pair:
    """Two gateways on one database."""

    first: Lease
    second: Lease
    database: Database
    wall: Wall

    async def run_out(self) -> None:
        """Let whatever is held run out: by its row, because PostgreSQL's clock cannot be set."""
        past = text("UPDATE leases SET expires_at = expires_at - :span")
        await self.database.write(lambda connection: connection.execute(past, {"span": round(SECONDS * 1_000_000)}))


@pytest.fixture
async def pair(database_url: str) -> AsyncIterator[Pair]:
    """Two gateways that want the same lease, each with connections of its own."""
    wall = Wall()
    async with AsyncExitStack() as stack:
        databases = []
        for _ in range(2):
            database = await open_database(database_url)
            stack.push_async_callback(database.close)
            databases.append(database)
        first, second = (
            Lease(database, "sweep", holder=holder, seconds=SECONDS, wall=wall, longest_seconds=2 * SECONDS)
            for database, holder in zip(databases, ("gw_1", "gw_2"), strict=True)
        )
        yield Pair(first, second, databases[0], wall)


async def test_one_of_two_has_it(pair: Pair) -> None:
    """While one holds and renews it, the other does not get it."""
    assert await pair.first.take() == 1
    assert await pair.second.take() is None
    assert await pair.first.renew()
    assert await pair.first.hold()
    assert not await pair.second.hold()
    assert (pair.first.token, pair.second.token) == (1, None)


async def test_a_dead_holder_is_replaced(pair: Pair) -> None:
    """Once a lease has run out another gateway takes it, under a greater token."""
    assert await pair.first.hold()
    await pair.run_out()
    assert await pair.second.hold()
    assert pair.second.token == 2


async def test_a_lease_from_before_the_calendar_was_set_back_is_free(pair: Pair) -> None:
    """A dead holder's lease that would last longer than any is taken, under a greater token."""
    assert await pair.first.hold()
    ahead = text("UPDATE leases SET expires_at = expires_at + 7200000000")
    await pair.database.write(lambda connection: connection.execute(ahead))
    assert await pair.second.hold()
    assert 2 == pair.second.token


async def test_a_zombie_does_not_renew(pair: Pair) -> None:
    """A gateway that slept past its lease finds it gone, even when the one after it has given it back."""
    assert await pair.first.hold()
    await pair.run_out()
    assert await pair.second.hold()
    await pair.second.give_back()
    assert not await pair.first.renew()
    assert pair.first.token is None
    assert await pair.second.take() == 3


async def test_a_zombie_gives_nothing_back(pair: Pair) -> None:
    """A gateway that slept past its lease cannot take it from the one that has it now."""
    assert await pair.first.hold()
    await pair.run_out()
    assert await pair.second.hold()
    await pair.first.give_back()
    assert await pair.second.renew()
    assert await pair.first.take() is None


async def test_a_lease_that_nobody_took_is_renewed_late(pair: Pair) -> None:
    """A holder that was late, and that nobody has replaced, goes on under the same token."""
    assert await pair.first.hold()
    await pair.run_out()
    assert await pair.first.renew()
    assert pair.first.token == 1
    assert not await pair.second.hold()


async def test_a_lease_that_is_given_back_is_free(pair: Pair) -> None:
    """The next gateway need not wait for it to run out."""
    assert await pair.first.hold()
    await pair.first.give_back()
    assert pair.first.token is None
    assert await pair.second.take() == 2
    await pair.first.give_back()
    assert await pair.second.renew()


async def test_a_taking_of_which_the_answer_was_lost_is_repeated(pair: Pair) -> None:
    """Who has the lease without knowing it takes it again, under a greater token."""
    assert await pair.first.take() == 1
    assert await pair.first.take() == 2
    assert not await pair.second.hold()


async def test_of_many_at_once_one_gets_it(pair: Pair) -> None:
    """Of twenty takers at once on two gateways' connections one has the lease."""
    takers = [
        Lease(each._database, "race", holder=f"gw_{number}", seconds=SECONDS, wall=pair.wall)
        for number, each in enumerate([pair.first, pair.second] * 10)
    ]
    tokens = await asyncio.gather(*(taker.take() for taker in takers))
    assert sorted(token for token in tokens if token is not None) == [1]


async def test_leases_of_different_work_are_apart(pair: Pair) -> None:
    """Two gateways do two kinds of work at the same time."""
    other = Lease(pair.database, "reconcile", holder="gw_2", seconds=SECONDS, wall=pair.wall)
    assert await pair.first.hold()
    assert await other.hold()


@pytest.mark.needs("postgres")
async def test_the_clock_of_postgres_decides(postgres_url: str) -> None:
    """A gateway whose own clock is a day ahead takes nothing that is held."""
    database = await open_database(postgres_url)
    try:
        right = Lease(database, "sweep", holder="gw_1", seconds=SECONDS, wall=Wall())
        ahead = Lease(database, "sweep", holder="gw_2", seconds=SECONDS, wall=Wall(1_900_000_000.0))
        assert await right.hold()
        assert not await ahead.hold()
    finally:
        await database.close()


async def test_on_sqlite_the_clock_of_the_machine_decides(tmp_path: Path) -> None:
    """A lease runs out at its last moment, not before."""
    wall = Wall()
    database = await open_database(f"sqlite:///{tmp_path}/ledger.db")
    try:
        first, second = (Lease(database, "sweep", holder=name, seconds=SECONDS, wall=wall) for name in ("gw_1", "gw_2"))
        assert await first.hold()
        wall.now += SECONDS - 1
        assert not await second.hold()
        wall.now += 1
        assert await second.hold()
    finally:
        await database.close()


async def test_work_is_left_to_others_while_the_database_is_gone(pair: Pair) -> None:
    """Who cannot know whether it has the lease does not do the work; what it leaves then runs out by itself."""

    async def rename(names: tuple[str, str]) -> None:
        statement = "ALTER TABLE {} RENAME TO {}".format(*names)
        await pair.database.write(lambda connection: connection.exec_driver_sql(statement))

    assert await pair.first.is_mine()
    assert not await pair.second.is_mine()
    await rename(("leases", "away"))
    with pytest.raises(LedgerUnavailable):
        await pair.first.hold()
    assert not await pair.first.is_mine()
    await pair.first.leave()
    await rename(("away", "leases"))
    assert not await pair.second.is_mine()
    await pair.run_out()
    assert await pair.second.is_mine()
    await pair.second.leave()
    assert await pair.first.is_mine()
