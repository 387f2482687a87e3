"""A key that is changed through one gateway is changed for every other one on the same database."""

from __future__ import annotations

import asyncio
import io
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

import asyncpg  # type: ignore[import-untyped]  # ships no types
import pytest

from gateway.intake.callers import Callers, Peer
from gateway.problems import Unauthenticated
from gateway.request import Caller
from gateway.store import BoundedDatabase, Keys, LedgerUnavailable, fingerprint, open_database
from gateway.store.key_bell import PATIENCE_SECONDS, KeyBell, NotificationBell, open_bell
from gateway.telemetry.logs import make_logger
from tests.servers import Postgres

ACME = Caller("acme", "key_1")
WITH_KEY = Peer(None, {"authorization": "Bearer mg_acme"})
REVOKE = "from gateway.cli.keys import keys; keys(['revoke', 'key_1'])"


@dataclass(frozen=True)
class Door:
    """What one gateway has to let callers in."""

    keys: Keys
    bell: KeyBell
    callers: Callers

    def listens(self) -> bool:
        """Whether the bell's news come from the database."""
        return self.bell.heard().period is not None


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """What is closed at the end."""
    async with AsyncExitStack() as stack:
        yield stack


async def door(url: str, stack: AsyncExitStack, clock: Callable[[], float] = time.monotonic) -> Door:
    """Open a door to a database."""
    database = BoundedDatabase(await open_database(url), seconds=2.0)
    stack.push_async_callback(database.close)
    keys = Keys(database, time.time)
    bell = await open_bell(url, settle=keys.settle, clock=clock, log=make_logger(io.StringIO()))
    stack.push_async_callback(bell.close)
    callers = Callers(keys, keyless=False, clock=clock, bell=bell)
    stack.push_async_callback(callers.close)
    return Door(keys, bell, callers)


async def until(bell: KeyBell, fulfilled: Callable[[], bool]) -> None:
    """Wait for the bell's news until they are what is waited for; a file has none, and needs no waiting."""
    async with asyncio.timeout(20):
        while isinstance(bell, NotificationBell):
            bell.news.clear()
            if fulfilled():
                return
            await bell.news.wait()
    assert fulfilled()


async def two_doors(url: str, stack: AsyncExitStack, clock: Callable[[], float] = time.monotonic) -> tuple[Door, Door]:
    """Open two doors to a database with one key, and let it in through both, so that both remember it."""
    doors = await door(url, stack, clock), await door(url, stack, clock)
    await doors[0].keys.add_key("key_1", tenant="acme", sha256=fingerprint("mg_acme"))
    for each in doors:
        await until(each.bell, each.listens)
        assert ACME == await each.callers.identify(WITH_KEY)
        assert 1 == len(each.callers._known)
    return doors


async def test_a_revoked_key_is_refused_by_every_gateway(database_url: str, stack: AsyncExitStack) -> None:
    """Revoked through one gateway, the key opens no other one: at once, or once the notification has come."""
    one, other = await two_doors(database_url, stack)
    before = {each: each.bell.heard() for each in (one, other)}
    assert await one.keys.revoke_key("key_1")
    for each, heard in before.items():
        await until(each.bell, partial(lambda each, heard: each.bell.heard().rings != heard.rings, each, heard))
        with pytest.raises(Unauthenticated):
            await each.callers.identify(WITH_KEY)


async def test_a_secret_without_grace_is_refused_by_every_gateway(database_url: str, stack: AsyncExitStack) -> None:
    """A rotation is heard as a revocation is."""
    one, other = await two_doors(database_url, stack)
    before = other.bell.heard()
    await one.keys.rotate_key("key_1", sha256="new", prefix="mg_", earlier_id="key_0", grace_seconds=0)
    await until(other.bell, lambda: other.bell.heard().rings != before.rings)
    with pytest.raises(Unauthenticated):
        await other.callers.identify(WITH_KEY)


async def test_a_key_revoked_on_the_command_line_is_refused(database_url: str, stack: AsyncExitStack) -> None:
    """`maskgate keys revoke` needs no gateway, and every running one hears of it."""
    _, other = await two_doors(database_url, stack)
    before = other.bell.heard()
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MASKGATE_")}
    command = await asyncio.create_subprocess_exec(
        sys.executable, "-c", REVOKE, env=ours | {"MASKGATE_DATABASE_URL": database_url}
    )
    assert 0 == await command.wait()
    await until(other.bell, lambda: other.bell.heard().rings != before.rings)
    with pytest.raises(Unauthenticated):
        await other.callers.identify(WITH_KEY)


@pytest.mark.needs("postgres")
async def test_a_gateway_that_hears_nothing_remembers_nothing(postgres_url: str, stack: AsyncExitStack) -> None:
    """A key that is revoked while the listening connection is cut is refused on the next request."""
    one, other = await two_doors(postgres_url, stack)
    assert isinstance(other.bell, NotificationBell)
    before = other.bell.heard()
    await other.bell.close()
    assert other.bell.heard().period is None
    assert ACME == await other.callers.identify(WITH_KEY)
    await one.keys.revoke_key("key_1")
    assert before.rings == other.bell.heard().rings
    with pytest.raises(Unauthenticated):
        await other.callers.identify(WITH_KEY)


@pytest.mark.needs("postgres")
async def test_what_was_remembered_before_a_cut_is_not_used_after_it(postgres_url: str, stack: AsyncExitStack) -> None:
    """A key that is revoked while nobody listens is refused on the connection that listens next."""
    doors = await two_doors(postgres_url, stack)
    before = {each: each.bell.heard().period for each in doors}
    killer = await asyncpg.connect(postgres_url)
    await killer.execute(
        "BEGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'maskgate keys' AND datname = current_database();"
        " UPDATE api_keys SET revoked_at = 1; COMMIT"  # without ringing: only the cut itself can tell
    )
    await killer.close()
    for each, period in before.items():
        await until(
            each.bell, partial(lambda each, period: each.bell.heard().period not in {None, period}, each, period)
        )
        with pytest.raises(Unauthenticated):
            await each.callers.identify(WITH_KEY)


@pytest.mark.needs("postgres")
async def test_a_frozen_database_keeps_only_the_first_callers_waiting(
    own_postgres: Postgres, stack: AsyncExitStack
) -> None:
    """Known keys are believed while the server hangs, others are not, and once it goes on every change counts again."""
    now = [1000.0]
    one, other = await two_doors(own_postgres.create("frozen"), stack, clock=lambda: now[0])
    own_postgres.freeze()
    stack.callback(own_postgres.thaw)
    now[0] += PATIENCE_SECONDS
    assert ACME == await other.callers.identify(WITH_KEY)
    outage = other.callers._outage
    assert outage is not None
    callers = [other.callers.identify(WITH_KEY) for _ in range(1000)]
    unknown = [other.callers.identify(Peer(None, {"authorization": f"Bearer mg_{number}"})) for number in range(1000)]
    async with asyncio.timeout(1.5):  # one question to the server would take longer
        assert {ACME} == set(await asyncio.gather(*callers))
        refused = await asyncio.gather(*unknown, return_exceptions=True)
    assert {LedgerUnavailable} == {type(problem) for problem in refused}
    own_postgres.thaw()
    await outage
    before = other.bell.heard()
    await one.keys.revoke_key("key_1")
    await until(other.bell, lambda: other.bell.heard().period is None or other.bell.heard() != before)
    with pytest.raises(Unauthenticated):
        await other.callers.identify(WITH_KEY)
