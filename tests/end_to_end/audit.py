"""The ledger of any database, read without the gateway's code, and held against the upstreams' own books."""

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # ships no types

from gateway.accounting.verifying import verify
from gateway.store import open_database
from tests.end_to_end.ledger import Account, assert_books_agree
from tests.end_to_end.upstreams import Billed
from tests.gateway.store.ledger_sums import agree

#: Every attempt with where it has ended: corrections, which come later, change no attempt's end.
ATTEMPTS = """
SELECT opened.attempt_id, opened.deployment, opened.provider, opened.tenant, opened.request_id, opened.prompt_index,
       opened.tags, opened.amount_microusd AS reserved, opened.expires_at, ended.kind AS ended,
       ended.amount_microusd AS amount, ended.cost_microusd AS cost, ended.reason, ended.upstream_ref
FROM entries AS opened
LEFT JOIN entries AS ended ON ended.attempt_id = opened.attempt_id AND ended.phase = (
    SELECT max(phase) FROM entries AS later
    WHERE later.attempt_id = opened.attempt_id AND later.phase IN (1, 2)
)
WHERE opened.phase = 0
ORDER BY opened.id
"""


async def query(url: str, statement: str) -> list[dict[str, Any]]:
    """Return what a statement finds in the database at that address."""
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(f"file:{url.removeprefix('sqlite:///')}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(statement)]
    connection = await asyncpg.connect(url)
    try:
        return [dict(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


async def read_accounts(url: str) -> list[Account]:
    """Return every attempt in the order in which it was reserved."""
    return [_account(row) for row in await query(url, ATTEMPTS)]


def _account(row: Mapping[str, Any]) -> Account:
    given = {name: row[name] for name in row if name not in {"tags", "ended", "amount", "cost"}}
    return Account(
        **given,
        tags=json.loads(row["tags"]),
        ended=row["ended"] or "open",
        amount=row["amount"] or 0,
        cost=row["cost"] or 0,
    )


async def verify_all(url: str) -> int:
    """Demand that sums, budgets and chains are those of the entries, and return the number of attempts."""
    database = await open_database(url)
    try:
        await agree(database)
        seen = await database.read(partial(verify, tell=lambda _: None))
    finally:
        await database.close()
    assert [] == seen.breaks
    return seen.attempts


async def audit(
    url: str, books: Sequence[Billed], *, told_as: Callable[[Account], Account] = lambda account: account
) -> list[Account]:
    """
    Demand that the ledger is whole, says what the books say, and has no attempt open.

    Args:
        url: of the ledger.
        books: the upstreams'.
        told_as: turns an attempt into what the books call it.

    Returns:
        Every attempt.
    """
    accounts = await read_accounts(url)
    assert_books_agree([told_as(each) for each in accounts], books)
    assert len(accounts) == await verify_all(url)
    return accounts
