"""The bell that rings when a key is changed: heard by everybody, and trusted only while it can be heard."""

from __future__ import annotations

import asyncio
import io
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]  # ships no types
import pytest

from gateway.store import Keys, open_database
from gateway.store.key_bell import (
    PATIENCE_SECONDS,
    FileBell,
    NotificationBell,
    bell_file,
    open_bell,
)
from gateway.telemetry.logs import make_logger
from tests.servers import Postgres

LOG = make_logger(io.StringIO())

#: Changes a key as `Keys` does, and dies before it has committed.
DYING_WRITER = """
import asyncio, os, signal, sys
from sqlalchemy import update
from gateway.store import api_keys, open_database
from gateway.store.key_bell import ring

def change(connection):
    connection.execute(update(api_keys).values(revoked_at=1))
    ring(connection)
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    await (await open_database(sys.argv[1])).write(change)

asyncio.run(main())
"""


async def until(bell: NotificationBell, fulfilled: Callable[[], bool]) -> None:
    """Wait for the bell's news until they are what is waited for."""
    async with asyncio.timeout(20):
        while True:
            bell.news.clear()
            if fulfilled():
                return
            await bell.news.wait()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """What is closed at the end."""
    async with AsyncExitStack() as stack:
        yield stack


async def keys_at(url: str, stack: AsyncExitStack) -> Keys:
    """Return the keys in a database."""
    database = await open_database(url)
    stack.push_async_callback(database.close)
    return Keys(database, time.time)


async def file_bell(tmp_path: Path, stack: AsyncExitStack) -> tuple[FileBell, Keys]:
    """Return the bell of a new file with one key."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    keys = await keys_at(url, stack)
    await keys.add_key("key_1", tenant="acme", sha256="aa")
    bell = await open_bell(url, settle=keys.settle, clock=time.monotonic, log=LOG)
    assert isinstance(bell, FileBell)
    return bell, keys


async def notification_bell(
    url: str, stack: AsyncExitStack, clock: Callable[[], float] = time.monotonic
) -> tuple[NotificationBell, Keys]:
    """Return a bell that listens to a new database with one key."""
    keys = await keys_at(url, stack)
    await keys.add_key("key_1", tenant="acme", sha256="aa")
    bell = await open_bell(url, settle=keys.settle, clock=clock, log=LOG)
    assert isinstance(bell, NotificationBell)
    stack.push_async_callback(bell.close)
    await until(bell, lambda: bell.heard().period is not None)
    return bell, keys


async def test_every_change_is_heard_beside_the_file(tmp_path: Path, stack: AsyncExitStack) -> None:
    """Revoking and rotating ring; making a key, and what changes nothing, do not."""
    bell, keys = await file_bell(tmp_path, stack)
    heard = [bell.heard()]
    assert not await keys.revoke_key("key_9")
    await keys.add_key("key_2", tenant="acme", sha256="bb")
    assert heard == [bell.heard()]
    await keys.rotate_key("key_2", sha256="cc", prefix="mg_", earlier_id="key_3", grace_seconds=1)
    heard.append(bell.heard())
    await keys.revoke_key("key_1")
    heard.append(bell.heard())
    assert 3 == len(set(heard))
    assert {0} == {each.period for each in heard}
    assert 0o600 == bell_file(tmp_path / "ledger.db").stat().st_mode & 0o777


async def test_a_database_has_one_bell_whatever_it_is_called(tmp_path: Path, stack: AsyncExitStack) -> None:
    """A link to the database leads to the same bell as its name."""
    bell, _ = await file_bell(tmp_path, stack)
    before = bell.heard()
    (tmp_path / "link.db").symlink_to(tmp_path / "ledger.db")
    other = await keys_at(f"sqlite:///{tmp_path}/link.db", stack)
    await other.revoke_key("key_1")
    assert before != bell.heard()


async def test_a_ring_is_settled_when_its_writer_has_committed(tmp_path: Path, stack: AsyncExitStack) -> None:
    """Between ring and commit nobody may remember; who waits for the writer reads what it has written."""
    bell, keys = await file_bell(tmp_path, stack)
    writer = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE api_keys SET revoked_at = 7")
    bell_file(tmp_path / "ledger.db").write_bytes(b".")
    order: list[str] = []

    async def settle() -> None:
        assert await bell.settled()
        order.append("settled")

    waiting = asyncio.create_task(settle())
    unsettled = await keys.find_key("aa")
    order.append("committed")
    writer.execute("COMMIT")
    writer.close()
    await waiting
    settled = await keys.find_key("aa")
    assert ["committed", "settled"] == order
    assert unsettled is not None
    assert settled is not None
    assert (None, 7) == (unsettled.revoked_at, settled.revoked_at)


async def test_a_writer_that_dies_after_its_ring_is_not_waited_for(tmp_path: Path, stack: AsyncExitStack) -> None:
    """The ring of a change that never came is settled like any other, and the key is what it was."""
    bell, keys = await file_bell(tmp_path, stack)
    before = bell.heard()
    dead = await asyncio.create_subprocess_exec(sys.executable, "-c", DYING_WRITER, f"sqlite:///{tmp_path}/ledger.db")
    assert -signal.SIGKILL == await dead.wait()
    assert before != bell.heard()
    assert await bell.settled()
    found = await keys.find_key("aa")
    assert found is not None
    assert found.revoked_at is None


async def test_a_ring_stays_unsettled_while_the_writer_goes_on(tmp_path: Path, stack: AsyncExitStack) -> None:
    """Where the database is locked for too long, nobody claims to know."""
    bell, _ = await file_bell(tmp_path, stack)
    writer = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    bell_file(tmp_path / "ledger.db").write_bytes(b".")
    assert not await bell.settled()
    writer.execute("ROLLBACK")
    writer.close()
    assert await bell.settled()


async def test_a_bell_that_cannot_be_looked_at_is_heard_by_nobody(tmp_path: Path) -> None:
    """A folder that has become a file tells nothing about keys."""

    async def settle() -> None:
        """Nothing is under way."""

    (tmp_path / "folder").touch()
    assert FileBell(tmp_path / "folder" / "ledger.db", settle).heard().period is None


@pytest.mark.needs("postgres")
async def test_every_change_is_heard_by_notification(postgres_url: str, stack: AsyncExitStack) -> None:
    """A change through one connection reaches the listener of another, and is readable when it does."""
    bell, keys = await notification_bell(postgres_url, stack)
    assert await bell.settled()
    other = await keys_at(postgres_url, stack)
    before = bell.heard()
    assert not await other.revoke_key("key_9")
    await other.revoke_key("key_1")
    await until(bell, lambda: bell.heard().rings != before.rings)
    assert before.period == bell.heard().period
    found = await keys.find_key("aa")
    assert found is not None
    assert found.revoked_at is not None


@pytest.mark.needs("postgres")
async def test_a_cut_connection_is_noticed_and_replaced(postgres_url: str, stack: AsyncExitStack) -> None:
    """Without its connection nothing is heard; on a new one another period begins."""
    bell, _ = await notification_bell(postgres_url, stack)
    before = bell.heard()
    killer = await asyncpg.connect(postgres_url)
    await killer.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'maskgate keys' AND datname = current_database()"
    )
    await killer.close()
    await until(bell, lambda: bell.heard().period != before.period)
    await until(bell, lambda: bell.heard().period is not None)
    assert before.period != bell.heard().period


@pytest.mark.needs("postgres")
async def test_silence_counts_for_three_seconds_after_the_last_proof(postgres_url: str, stack: AsyncExitStack) -> None:
    """A connection that proves nothing any more counts as lost, although it is open."""
    now = [1000.0]
    bell, _ = await notification_bell(postgres_url, stack, clock=lambda: now[0])
    now[0] += PATIENCE_SECONDS - 0.01
    assert bell.heard().period is not None
    now[0] += 0.01
    assert bell.heard().period is None


@pytest.mark.needs("postgres")
async def test_a_bell_is_hung_before_its_server_is_there(own_postgres: Postgres, stack: AsyncExitStack) -> None:
    """A gateway starts while the server is away, hears nothing, and listens once it is back."""
    url = own_postgres.create("late")
    own_postgres.stop()

    async def settle() -> None:
        """Nothing is under way."""

    bell = await open_bell(url, settle=settle, clock=time.monotonic, log=LOG)
    assert isinstance(bell, NotificationBell)
    stack.push_async_callback(bell.close)
    assert bell.heard().period is None
    await asyncio.to_thread(own_postgres.start)
    await until(bell, lambda: bell.heard().period is not None)
