"""
The ledger: reservations and settlements a second, beside the same two durable rows written plainly.

Plainly is what one writes first: a row inserted and committed before the call, updated and committed after it, without
budgets, sums or a chain. PostgreSQL gets a pool of 8 connections for it, SQLite its one writer.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, closing
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from uuid import uuid4

import asyncpg  # type: ignore[import-untyped]  # ships no types

from gateway.accounting import Attempt, Ledger
from providers.contract import Money
from tests.benchmarks.processes import NotRunnable
from tests.benchmarks.rounds import take_turns
from tests.benchmarks.stage import Stage, Work
from tests.benchmarks.table import Aim, Row
from tests.servers import find, start_postgres

NAME = "ledger"
MASKGATE, BESIDE = "maskgate", "a commit for each row"
CALLERS = (1, 8, 64)
POOL = 8
#: The design names no aim for this; one caller may pay for the budgets, the sums and the chain, many have to gain.
AIMS = {1: Aim(0.4), 8: Aim(1), 64: Aim(4)}
KINDS = ("SQLite", "PostgreSQL")
TABLE = "CREATE TABLE plain (id TEXT PRIMARY KEY, tenant TEXT, reserved BIGINT, charged BIGINT, state TEXT)"

Pair = Callable[[], Awaitable[None]]


def named(kind: str, callers: int) -> str:
    """Return what a comparison is called in the table."""
    return f"{NAME} {kind}, {callers} callers" if callers > 1 else f"{NAME} {kind}, 1 caller"


def measure(stage: Stage) -> list[Row]:
    """Take turns for each database and number of callers."""
    if find("postgres") is None:
        raise NotRunnable("PostgreSQL is not here: apt-get install postgresql")
    rows = []
    with ExitStack() as running:
        stage.folder.chmod(0o755)  # PostgreSQL runs as a user of its own
        folder = stage.folder / "postgres"
        folder.mkdir()
        postgres = start_postgres(folder)
        running.callback(postgres.stop)
        for kind in KINDS:
            for callers in CALLERS:
                if kind == "SQLite":
                    files = [stage.folder / f"{name}-{callers}.db" for name in ("ours", "plain")]
                    turns = {
                        MASKGATE: partial(_ours, f"sqlite:///{files[0]}", callers, stage.seconds / 4),
                        BESIDE: partial(_plain_sqlite, files[1], callers, stage.seconds / 4),
                    }
                else:
                    urls = [postgres.create(f"{name}_{callers}") for name in ("ours", "plain")]
                    turns = {
                        MASKGATE: partial(_ours, urls[0], callers, stage.seconds / 4),
                        BESIDE: partial(_plain_postgres, urls[1], callers, stage.seconds / 4),
                    }
                found = take_turns(turns, rounds=stage.rounds)
                figures = tuple(mine / theirs for mine, theirs in zip(found[MASKGATE], found[BESIDE], strict=True))
                detail = {name: {"rows_a_second": 2 * median(pairs)} for name, pairs in found.items()}
                rows.append(Row(named(kind, callers), BESIDE, AIMS[callers], figures, detail))
    return rows


async def _pairs_a_second(pair: Pair, callers: int, seconds: float) -> float:
    """Have so many callers write pair after pair; return how many were written in a second."""
    done = count()
    started = time.perf_counter()
    until = started + seconds

    async def call() -> None:
        while time.perf_counter() < until:
            await pair()
            next(done)

    await asyncio.gather(*(call() for _ in range(callers)))
    return next(done) / (time.perf_counter() - started)


def _ours(url: str, callers: int, seconds: float) -> float:
    async def run() -> float:
        ledger = await Ledger.open(url, wall=time.time, clock=time.monotonic, answer_seconds=10)

        async def pair() -> None:
            attempt = Attempt(uuid4().hex, "seg", 0, "acme", "key", "eu", "runflow", "sam-3", "eu", "eu@2026-01-01")
            async with await ledger.reserve(attempt, Money(5000), expires_in=60) as reservation:
                await reservation.settle(charge=Money(5000), cost=Money(5000), reported=None, upstream_ref="run")

        try:
            return await _pairs_a_second(pair, callers, seconds)
        finally:
            await ledger.close()

    return asyncio.run(run())


def _plain_sqlite(file: Path, callers: int, seconds: float) -> float:
    turn = threading.Lock()
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(TABLE.replace("TABLE", "TABLE IF NOT EXISTS", 1))

        def write(statement: str, *values: object) -> None:
            with turn:
                connection.execute(statement, values)

        async def pair() -> None:
            name = uuid4().hex
            await asyncio.to_thread(write, "INSERT INTO plain VALUES (?, 'acme', 5000, 0, 'reserved')", name)
            await asyncio.to_thread(write, "UPDATE plain SET charged = 5000, state = 'settled' WHERE id = ?", name)

        return asyncio.run(_pairs_a_second(pair, callers, seconds))


def _plain_postgres(url: str, callers: int, seconds: float) -> float:
    async def run() -> float:
        async with asyncpg.create_pool(url, min_size=min(callers, POOL), max_size=POOL) as pool:
            await pool.execute(TABLE.replace("TABLE", "TABLE IF NOT EXISTS", 1))

            async def pair() -> None:
                name = uuid4().hex
                await pool.execute("INSERT INTO plain VALUES ($1, 'acme', 5000, 0, 'reserved')", name)
                await pool.execute("UPDATE plain SET charged = 5000, state = 'settled' WHERE id = $1", name)

            return await _pairs_a_second(pair, callers, seconds)

    return asyncio.run(run())


WORK = Work(NAME, tuple((BESIDE, AIMS[callers]) for _ in KINDS for callers in CALLERS), measure)
