"""Answers by their Idempotency-Key, in both databases, with two replicas on each."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy import Connection, func, insert, select, update

from gateway.store import Database, LedgerUnavailable, entries, open_database
from gateway.store.database import Work
from gateway.store.remembered import (
    PART_BYTES,
    Claim,
    Interrupted,
    Remembered,
    RememberedAnswer,
    Turn,
)
from gateway.store.tables import remembered_answers, remembered_parts

TTL = 3600.0
LEASE = 40.0
FIRST = Claim("acme", "k", "print", "seg_1", "own_1")
SECOND = replace(FIRST, request_id="seg_2", owner="own_2")
ANSWER = RememberedAnswer("seg_1", 200, (("content-type", "application/json"), ("maskgate-cache", "miss")), b'{"a": 1}')


@dataclass
class Clock:
    """Seconds since 1970, as a test sets them."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def wall() -> Clock:
    """The time of all replicas."""
    return Clock()


@pytest.fixture
async def databases(database_url: str) -> AsyncIterator[tuple[Database, Database]]:
    """One database, opened twice."""
    pair = (await open_database(database_url), await open_database(database_url))
    yield pair
    for database in pair:
        await database.close()


@pytest.fixture
def here(databases: tuple[Database, Database], wall: Clock) -> Remembered:
    """One replica's memory."""
    return Remembered(databases[0], wall, ttl_seconds=TTL)


@pytest.fixture
def there(databases: tuple[Database, Database], wall: Clock) -> Remembered:
    """Another replica's memory."""
    return Remembered(databases[1], wall, ttl_seconds=TTL)


async def test_the_first_has_the_turn_and_the_others_its_answer(here: Remembered, there: Remembered) -> None:
    """While the first works others are told so; then every replica has the answer, to the byte."""
    assert Turn.BEGUN is await here.begin(FIRST, lease_seconds=LEASE)
    assert Turn.RUNNING is await there.begin(SECOND, lease_seconds=LEASE)
    assert await there.running(SECOND)
    assert await here.finish(FIRST, ANSWER)
    assert not await there.running(SECOND)
    assert ANSWER == await there.begin(SECOND, lease_seconds=LEASE)


async def test_of_many_at_once_one_has_the_turn(here: Remembered, there: Remembered) -> None:
    """Of fifty who ask two replicas at the same time, exactly one works."""
    asked = [
        (here, there)[number % 2].begin(replace(FIRST, owner=f"own_{number}"), lease_seconds=LEASE)
        for number in range(50)
    ]
    assert {Turn.BEGUN: 1, Turn.RUNNING: 49} == Counter(await asyncio.gather(*asked))


async def test_a_key_is_its_tenants_own(here: Remembered) -> None:
    """The same key of another tenant is another key, and shows nothing."""
    await here.begin(FIRST, lease_seconds=LEASE)
    await here.finish(FIRST, ANSWER)
    assert Turn.BEGUN is await here.begin(replace(SECOND, tenant="globex"), lease_seconds=LEASE)


async def test_a_key_stands_for_one_request(here: Remembered) -> None:
    """Another request under the key is told apart while the first is worked on, and after it."""
    other = replace(SECOND, fingerprint="another")
    await here.begin(FIRST, lease_seconds=LEASE)
    assert Turn.DIFFERENT is await here.begin(other, lease_seconds=LEASE)
    await here.finish(FIRST, ANSWER)
    assert Turn.DIFFERENT is await here.begin(other, lease_seconds=LEASE)


async def test_asking_twice_changes_nothing(here: Remembered) -> None:
    """A turn that was taken unheard is taken, and an answer that was kept unheard is kept."""
    assert Turn.BEGUN is await here.begin(FIRST, lease_seconds=LEASE)
    assert Turn.BEGUN is await here.begin(FIRST, lease_seconds=LEASE)
    assert await here.finish(FIRST, ANSWER)
    assert await here.finish(FIRST, ANSWER)


async def test_an_abandoned_turn_is_taken_over(here: Remembered, there: Remembered, wall: Clock) -> None:
    """After the lease the next one has the turn, and the first one can no longer answer under the key."""
    await here.begin(FIRST, lease_seconds=LEASE)
    wall.now += LEASE
    assert not await there.running(SECOND)
    assert Turn.BEGUN is await there.begin(SECOND, lease_seconds=LEASE)
    assert not await here.finish(FIRST, ANSWER)
    assert await there.finish(SECOND, replace(ANSWER, request_id="seg_2"))


async def test_a_late_answer_is_kept_where_nobody_took_over(here: Remembered, there: Remembered, wall: Clock) -> None:
    """An owner whose lease is over may still answer, as long as the key is its own."""
    await here.begin(FIRST, lease_seconds=LEASE)
    wall.now += 2 * LEASE
    assert await here.finish(FIRST, ANSWER)
    assert ANSWER == await there.begin(SECOND, lease_seconds=LEASE)


def an_entry(number: int, phase: int, kind: str, wall: Clock, **others: Any) -> dict[str, Any]:
    """Return an entry of an attempt of 50 micro-dollars, balanced as the ledger wants it."""
    moves: dict[str, dict[str, Any]] = {
        "reserve": {"amount_microusd": 50, "available_microusd": -50, "reserved_microusd": 50},
        "release": {"amount_microusd": 0, "available_microusd": 50, "reserved_microusd": -50, "reason": "refused"},
    }
    identity: dict[str, Any] = {
        "request_id": "seg_1",
        "prompt_index": 0,
        "tenant": "acme",
        "key_id": "key",
        "deployment": "eu",
        "provider": "runflow",
        "model": "sam-3",
        "region": "eu",
        "price_id": "eu@2026",
        "expires_at": round(wall() * 1e6),
        "tags": "{}",
    }
    accounts = dict.fromkeys(("held_microusd", "payable_microusd", "margin_microusd"), 0)
    return {
        "attempt_id": f"att_{number}",
        "phase": phase,
        "kind": kind,
        "cost_microusd": 0,
        "at": round(wall() * 1e6),
        "writer": "test",
        "sequence": 2 * number + phase,
        "chain": "-",
        **accounts,
        **moves[kind],
        **(identity if phase == 0 else {}),
        **others,
    }


async def write(database: Database, *rows: dict[str, Any]) -> None:
    """Put entries into the ledger."""

    def put(connection: Connection) -> None:
        for row in rows:
            connection.execute(insert(entries).values(row))

    await database.write(put)


async def test_a_key_without_an_attempt_is_freed(here: Remembered, there: Remembered) -> None:
    """A problem that was found before any attempt leaves nothing behind; to free a key twice is harmless."""
    await here.begin(FIRST, lease_seconds=LEASE)
    assert await here.release(FIRST)
    assert await here.release(FIRST)
    assert not await there.running(SECOND)
    assert Turn.BEGUN is await there.begin(SECOND, lease_seconds=LEASE)
    assert await here.release(FIRST)
    assert await there.running(FIRST), "the first one's release has freed the second one's key"


async def test_a_key_with_an_attempt_is_not_freed(
    here: Remembered, databases: tuple[Database, Database], wall: Clock
) -> None:
    """Once a provider was asked the key is used, even if nothing was charged."""
    await here.begin(FIRST, lease_seconds=LEASE)
    await write(databases[0], an_entry(1, 0, "reserve", wall), an_entry(1, 1, "release", wall))
    assert not await here.release(FIRST)
    assert await here.running(SECOND)


async def test_others_attempts_do_not_count(
    here: Remembered, databases: tuple[Database, Database], wall: Clock
) -> None:
    """Attempts of other requests, and of another tenant's request of that name, keep nobody's key."""
    await here.begin(FIRST, lease_seconds=LEASE)
    await write(
        databases[0],
        an_entry(1, 0, "reserve", wall, request_id="seg_9"),
        an_entry(2, 0, "reserve", wall, tenant="globex"),
    )
    assert await here.release(FIRST)


async def test_one_attempt_among_many_keeps_the_key(
    here: Remembered, databases: tuple[Database, Database], wall: Clock
) -> None:
    """Where all calls but one were released, the interrupted request is not made again, and says how it stands."""
    await here.begin(FIRST, lease_seconds=LEASE)
    for number in (1, 2):
        await write(databases[0], an_entry(number, 0, "reserve", wall), an_entry(number, 1, "release", wall))
    await write(databases[0], an_entry(3, 0, "reserve", wall))
    wall.now += LEASE
    assert Interrupted("seg_1", settled=0, unknown=1) == await here.begin(SECOND, lease_seconds=LEASE)


async def test_an_expired_key_is_free_again(here: Remembered, wall: Clock) -> None:
    """Kept for its time and not a moment longer, whether it was answered or not."""
    await here.begin(FIRST, lease_seconds=LEASE)
    wall.now += 10
    await here.finish(FIRST, ANSWER)
    wall.now += TTL - 0.001
    assert ANSWER == await here.begin(SECOND, lease_seconds=LEASE)
    wall.now += 0.001
    other = replace(SECOND, fingerprint="another")
    assert Turn.BEGUN is await here.begin(other, lease_seconds=LEASE)
    wall.now += TTL
    assert Turn.BEGUN is await here.begin(FIRST, lease_seconds=LEASE)


async def test_a_lease_outlasts_a_short_life(databases: tuple[Database, Database], wall: Clock) -> None:
    """A request that is worked on is not forgotten, however short answers are kept."""
    brief = Remembered(databases[0], wall, ttl_seconds=1)
    await brief.begin(FIRST, lease_seconds=LEASE)
    wall.now += LEASE - 1
    assert Turn.RUNNING is await brief.begin(SECOND, lease_seconds=LEASE)
    assert 0 == await brief.prune()


async def test_what_has_expired_is_pruned_in_steps(here: Remembered, there: Remembered, wall: Clock) -> None:
    """Only expired answers go, no more of them at once than was said, and two replicas share the work."""
    for number in range(12):
        claim = replace(FIRST, key=f"old_{number}", owner=f"old_{number}")
        await here.begin(claim, lease_seconds=LEASE)
        await here.finish(claim, ANSWER)
    wall.now += TTL
    await here.begin(replace(FIRST, key="new"), lease_seconds=LEASE)
    assert 5 == await here.prune(5)
    assert 7 == sum(await asyncio.gather(here.prune(4), there.prune(4))) + await here.prune(50)
    assert 0 == await there.prune()
    assert Turn.RUNNING is await there.begin(replace(SECOND, key="new"), lease_seconds=LEASE)


@pytest.mark.parametrize("size", [0, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES, 6 * PART_BYTES + 7])
async def test_an_answer_of_any_size_is_kept_whole(here: Remembered, there: Remembered, size: int) -> None:
    """It comes back to the byte, also where it was kept twice because nobody heard of the first time."""
    whole = replace(ANSWER, body=random.Random(size).randbytes(size))
    await here.begin(FIRST, lease_seconds=LEASE)
    assert await here.finish(FIRST, whole)
    assert await here.finish(FIRST, whole)
    assert whole == await there.begin(SECOND, lease_seconds=LEASE)


async def test_no_part_outlives_its_answer(here: Remembered, databases: tuple[Database, Database], wall: Clock) -> None:
    """Parts go with their row; those of an answer that is just being written stay, and a later owner finds none."""
    whole = replace(ANSWER, body=bytes(PART_BYTES + 1))
    await here.begin(FIRST, lease_seconds=LEASE)
    await here.finish(FIRST, whole)
    await here.prune()
    assert whole == await here.begin(SECOND, lease_seconds=LEASE)
    wall.now += TTL
    assert Turn.BEGUN is await here.begin(SECOND, lease_seconds=LEASE)
    await here.prune()
    count = select(func.count()).select_from(remembered_parts)
    assert 0 == await databases[0].read(lambda connection: connection.scalar(count))
    await here.finish(SECOND, ANSWER)
    assert replace(ANSWER, request_id="seg_2") == await here.begin(replace(SECOND, owner="own_3"), lease_seconds=LEASE)


async def test_no_column_is_left_from_an_earlier_owner(
    here: Remembered, databases: tuple[Database, Database], wall: Clock
) -> None:
    """Who takes over an expired key finds nothing of the answer before."""
    await here.begin(FIRST, lease_seconds=LEASE)
    await here.finish(FIRST, ANSWER)
    wall.now += TTL
    await here.begin(SECOND, lease_seconds=LEASE)

    def row(connection: Connection) -> tuple[Any, ...]:
        kept = remembered_answers.c
        return tuple(
            connection.execute(select(kept.request_id, kept.owner, kept.status, kept.headers, kept.body)).one()
        )

    assert ("seg_2", "own_2", None, None, None) == await databases[0].read(row)


class Unheard:
    """A database whose first commits are done, and of which the answer is lost."""

    def __init__(self, database: Database, losses: int) -> None:
        """Lose that many answers."""
        self._database = database
        self._losses = losses

    async def write(self, work: Work[Any]) -> Any:
        """Write, and lose the answer while there are losses left."""
        done = await self._database.write(work)
        if self._losses:
            self._losses -= 1
            raise LedgerUnavailable("the connection was lost", certain=False)
        return done

    async def read(self, work: Work[Any]) -> Any:
        """Read."""
        return await self._database.read(work)

    async def close(self) -> None:
        """Leave the database to its owner."""


Step = Callable[[Remembered], Any]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (lambda memory: memory.begin(FIRST, lease_seconds=LEASE), Turn.BEGUN),
        (lambda memory: memory.finish(FIRST, ANSWER), True),
        (lambda memory: memory.release(FIRST), True),
    ],
)
async def test_a_commit_of_which_the_answer_is_lost_is_found(
    databases: tuple[Database, Database], here: Remembered, wall: Clock, step: Step, expected: object
) -> None:
    """The second try finds what the first one has done; a second loss is told."""
    if expected is True:
        await here.begin(FIRST, lease_seconds=LEASE)
    assert expected == await step(Remembered(Unheard(databases[1], 1), wall, ttl_seconds=TTL))
    with pytest.raises(LedgerUnavailable):
        await step(Remembered(Unheard(databases[1], 2), wall, ttl_seconds=TTL))


async def test_another_owners_row_is_left_alone(databases: tuple[Database, Database], here: Remembered) -> None:
    """A row of another owner is never changed: not by its answer, and not by its release."""
    await here.begin(FIRST, lease_seconds=LEASE)
    await databases[0].write(lambda connection: connection.execute(update(remembered_answers).values(owner="own_9")))
    assert not await here.finish(FIRST, ANSWER)
    assert await here.release(FIRST)
    assert await here.running(FIRST)
