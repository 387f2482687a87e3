"""Draining holds here at once and on every gateway of the database soon, over restarts and a database that is gone."""

from __future__ import annotations

import asyncio
import io
import json
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from gateway.routing.drain import Drains
from gateway.routing.health import BreakerState, Cause, HealthTable
from gateway.store import LedgerUnavailable, open_database
from gateway.store.database import Database
from gateway.store.drained import Drained, DrainedDeployments
from gateway.store.opening import SchemaState, upgrade_database
from gateway.telemetry.logs import make_logger
from tests.gateway.store.old_ledger import in_database

NOON = 1_800_000_000


@dataclass
class Gateway:
    """What one gateway has of draining."""

    database: Database
    health: HealthTable
    drains: Drains
    log: io.StringIO

    def lines(self) -> list[dict[str, Any]]:
        """Return what was logged."""
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    def out(self) -> set[str]:
        """Return the names of those that take no traffic."""
        return {name for name, view in self.health.views().items() if view.state is BreakerState.OPEN}


async def start(url: str) -> Gateway:
    """Start a gateway of two deployments."""
    database = await open_database(url)
    health, log = HealthTable(["eu", "us"], time.monotonic, random.Random(1)), io.StringIO()
    kept = DrainedDeployments(database, lambda: NOON)
    drains = Drains(kept, tell=health.drain, log=make_logger(log))
    await drains.refresh()
    return Gateway(database, health, drains, log)


@pytest.fixture
async def one(database_url: str) -> AsyncIterator[Gateway]:
    """A gateway."""
    gateway = await start(database_url)
    yield gateway
    await gateway.database.close()


@pytest.fixture
async def other(one: Gateway, database_url: str) -> AsyncIterator[Gateway]:
    """Another gateway on the same database."""
    gateway = await start(database_url)
    yield gateway
    await gateway.database.close()


async def test_it_holds_here_at_once_and_elsewhere_after_a_look(one: Gateway, other: Gateway) -> None:
    """Whoever was asked is drained when the answer comes; the others are when they have looked; so is resuming."""
    call = one.health["eu"].begin()
    assert call is not None
    drained = await one.drains.drain("eu", reason="new account", key_id="key_a")
    assert Drained("eu", "new account", "key_a", NOON * 1_000_000) == drained
    assert ({"eu"}, set()) == (one.out(), other.out())
    assert one.health["eu"].begin() is None
    assert 1 == one.health["eu"].view().in_flight
    await other.drains.refresh()
    assert {"eu": drained} == other.drains.current
    assert (Cause.DRAINED, "drained: new account") == (
        other.health["eu"].view().cause, other.health["eu"].view().reason
    )  # fmt: skip
    await other.drains.resume("eu")
    assert (set(), {"eu"}) == (other.out(), one.out())
    await one.drains.refresh()
    assert set() == one.out()


async def test_who_starts_later_knows(one: Gateway, database_url: str) -> None:
    """A gateway that is started anew takes no traffic to what was drained before."""
    await one.drains.drain("us", reason="for good", key_id="key_a")
    later = await start(database_url)
    try:
        assert {"us"} == later.out()
    finally:
        await later.database.close()


async def test_drained_again_it_has_the_new_reason(one: Gateway) -> None:
    """There is one row for a deployment, whoever has drained it how often; resuming twice is harmless."""
    await one.drains.drain("eu", reason="first", key_id="key_a")
    await one.drains.drain("eu", reason="second", key_id="key_b")
    assert ["second"] == [each.reason for each in one.drains.current.values()]
    assert "drained: second" == one.health["eu"].view().reason
    await one.drains.resume("eu")
    await one.drains.resume("eu")
    assert {} == one.drains.current
    told = [(line["event"], line["deployment"], line.get("reason")) for line in one.lines()]
    assert [
        ("deployment_drained", "eu", "first"),
        ("deployment_drained", "eu", "second"),
        ("deployment_resumed", "eu", None),
    ] == told


async def test_what_was_read_last_holds_while_the_database_is_gone(one: Gateway, other: Gateway) -> None:
    """Nothing is resumed because nobody can look; it is logged once, and looking goes on."""
    await one.drains.drain("eu", reason="new account", key_id="key_a")
    await other.drains.refresh()

    def rename(connection: Connection, *, back: bool) -> None:
        names = ("away", "drained_deployments") if back else ("drained_deployments", "away")
        connection.exec_driver_sql("ALTER TABLE {} RENAME TO {}".format(*names))

    await one.database.write(lambda connection: rename(connection, back=False))
    for _ in range(3):
        await other.drains.refresh()
    assert {"eu"} == other.out()
    with pytest.raises(LedgerUnavailable):
        await other.drains.resume("eu")
    assert {"eu"} == other.out()
    assert 1 == sum(line["event"] == "drains_unreadable" for line in other.lines())
    await one.database.write(lambda connection: rename(connection, back=True))
    await one.drains.resume("eu")
    await other.drains.refresh()
    assert set() == other.out()


async def test_a_look_that_began_before_a_change_is_not_believed_after_it(one: Gateway) -> None:
    """However looks and changes are mixed, at the end stands what was said last."""
    for number in range(20):
        await asyncio.gather(
            one.drains.refresh(),
            one.drains.drain("eu", reason=f"number {number}", key_id="key_a"),
            one.drains.refresh(),
        )
        assert {"eu"} == one.out()
        await asyncio.gather(one.drains.refresh(), one.drains.resume("eu"), one.drains.refresh())
        assert set() == one.out()


async def test_it_looks_once_a_second(one: Gateway, other: Gateway) -> None:
    """In the background, for as long as the gateway runs."""
    slept: list[float] = []
    looks = asyncio.Semaphore(0)
    looked = asyncio.Event()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        looked.set()
        await looks.acquire()

    task = asyncio.create_task(other.drains.run(sleep))
    await looked.wait()
    await one.drains.drain("us", reason="by hand", key_id="key_a")
    looked.clear()
    looks.release()
    await looked.wait()
    assert {"us"} == other.out()
    assert [1.0, 1.0] == slept
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_ledger_of_the_release_before_gets_the_table(database_url: str) -> None:
    """From revision 0002 one step leads here, and draining works afterwards."""

    def make_second(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", "gateway.store:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")

    await in_database(database_url, make_second)
    assert SchemaState("0002", ("0003", "0004", "0005")) == await upgrade_database(database_url)
    gateway = await start(database_url)
    try:
        await gateway.drains.drain("eu", reason="by hand", key_id="key_a")
        assert {"eu"} == gateway.out()
    finally:
        await gateway.database.close()
