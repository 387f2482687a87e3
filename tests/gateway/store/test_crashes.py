"""A gateway that is killed in the middle has lost nothing that it had confirmed."""

from __future__ import annotations

import itertools
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from gateway.accounting import Ledger, UsageQuery
from gateway.accounting.budgets import Budgets, wanted_budget
from gateway.store import Entry, entries, open_database
from gateway.store.tables import budget_windows
from providers.contract import Money
from tests.gateway.store.ledger_sums import agree

CHILD = Path(__file__).with_name("ledger_child.py")
ROOT = CHILD.parents[3]


def start(url: str, seed: int, name: str) -> subprocess.Popen[bytes]:
    """Start a process that spends."""
    command = [sys.executable, str(CHILD), url, str(seed), name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env={"PYTHONPATH": str(ROOT)})


def killed_after(child: subprocess.Popen[bytes], lines: int) -> list[tuple[str, str]]:
    """Kill a spending process once it has confirmed that many operations; return all that it had confirmed."""
    assert child.stdout is not None
    confirmed = [child.stdout.readline() for _ in range(lines)]
    child.kill()
    confirmed += child.stdout.read().splitlines(keepends=True)
    child.stdout.close()
    child.wait()
    whole = [line.decode().split() for line in confirmed if line.endswith(b"\n")]
    return [(kind, attempt) for kind, attempt in whole if kind != "refuse"]


async def set_budgets(url: str, total: Money) -> None:
    """Make a ledger with budgets that the spending reaches."""
    ledger = await Ledger.open(url, wall=time.time, clock=time.monotonic)
    numbers = itertools.count(1)
    budgets = Budgets(ledger.database, wall=time.time, new_id=lambda prefix: f"{prefix}_{next(numbers)}")
    for usd, period in ((total.usd, "total"), ("100", "day")):
        await budgets.set(wanted_budget(tenant="acme", period=period, limit_usd=usd))
    await ledger.close()


async def read_entries(url: str) -> list[Entry]:
    """Return the whole ledger, once it is found that sums, budgets and chains agree with it."""

    def read(connection: Connection) -> list[Entry]:
        columns = [entries.c[name] for name in Entry._fields]
        return [Entry._make(row) for row in connection.execute(select(*columns).order_by(entries.c.id))]

    database = await open_database(url)
    try:
        await agree(database)
        return await database.read(read)
    finally:
        await database.close()


async def read_windows(url: str) -> list[int]:
    """Return what is used of the total budget, which is the smaller one."""
    database = await open_database(url)
    used = budget_windows.c.spent_microusd + budget_windows.c.reserved_microusd
    try:
        return await database.read(lambda c: list(c.scalars(select(used).where(budget_windows.c.starts_at == 0))))
    finally:
        await database.close()


async def survives(url: str, kills: int, seed: int, budget: Money) -> None:
    """Kill, reopen and compare, *kills* times on one ledger; then sweep it twice."""
    rng = random.Random(seed)
    await set_budgets(url, budget)
    confirmed: set[tuple[str, str]] = set()
    found: list[Entry] = []
    for kill in range(kills):
        child = start(url, seed=kill, name=f"k{kill}")
        confirmed |= set(killed_after(child, rng.randrange(1, 120)))
        if url.startswith("sqlite"):
            with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            connection.close()
        found = await read_entries(url)
        assert confirmed - {(entry.kind, entry.attempt_id) for entry in found} == set(), f"lost at kill {kill}"
        assert max(Counter((entry.attempt_id, entry.phase) for entry in found).values()) == 1
    opened = {entry.attempt_id for entry in found if entry.phase == 0}
    ended = {entry.attempt_id for entry in found if entry.phase == 1}
    assert ended <= opened
    limited = await read_windows(url)
    assert all(budget.microusd - used < 5000 for used in limited), (
        "no budget was reached: the test has shown nothing about it"
    )
    assert opened - ended, "no kill hit an open reservation: the test has shown nothing about the sweep"
    later = await Ledger.open(url, wall=lambda: time.time() + 60, clock=time.monotonic)
    try:
        assert await later.sweep() == len(opened - ended)
        assert await later.sweep() == 0
        total = (await later.usage(UsageQuery())).total
    finally:
        await later.close()
    assert (total.attempts, total.open) == (len(opened), 0)
    holds = {entry.attempt_id for entry in await read_entries(url) if entry.reason == "abandoned"}
    assert holds == opened - ended


@pytest.mark.parametrize(("kills", "budget"), [(4, 200_000), pytest.param(20, 1_000_000, marks=pytest.mark.slow)])
async def test_sqlite_survives_kills(tmp_path: Path, kills: int, budget: int) -> None:
    """After kills of a spending process SQLite holds all that was confirmed, and the sums agree with the entries."""
    await survives(f"sqlite:///{tmp_path}/ledger.db", kills=kills, seed=7, budget=Money(budget))


@pytest.mark.slow
@pytest.mark.needs("postgres")
async def test_postgres_survives_kills(postgres_url: str) -> None:
    """After 8 kills of a spending process PostgreSQL holds all that was confirmed, and the sums agree with it."""
    await survives(postgres_url, kills=8, seed=11, budget=Money(300_000))


async def test_processes_share_one_file(tmp_path: Path) -> None:
    """Two processes that start at once on a new file both spend into it, and neither loses anything."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    children = [start(url, seed, f"p{seed}") for seed in (1, 2)]
    confirmed = [line for child in children for line in killed_after(child, 100)]
    assert {attempt[:2] for _, attempt in confirmed} == {"p1", "p2"}
    found = {(entry.kind, entry.attempt_id) for entry in await read_entries(url)}
    assert set(confirmed) - found == set()
