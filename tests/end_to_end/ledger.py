"""The ledger as it lies on disk, read without the gateway's code, and held against the upstreams' own books."""

import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]  # ships no types

from tests.end_to_end.upstreams import Billed


@dataclass(frozen=True, slots=True)
class Account:
    """What the ledger says of one attempt."""

    attempt_id: str
    deployment: str
    provider: str
    tenant: str
    request_id: str
    prompt_index: int
    tags: dict[str, str]
    reserved: int
    """Micro-dollars."""
    expires_at: int
    """Microseconds since 1970."""
    ended: str
    """`settle`, `release` or `hold`; `open` where the attempt has not ended."""
    amount: int
    """Charged, or held; 0 for a release and an open one."""
    cost: int
    """Owed to the provider, or the most that may be."""
    reason: str | None
    upstream_ref: str | None


def read_ledger(state: Path) -> list[Account]:
    """Return every attempt in the order in which it was reserved."""
    with closing(sqlite3.connect(f"file:{state / 'maskgate.db'}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        rows = list(database.execute("SELECT * FROM entries ORDER BY id"))
    endings = {row["attempt_id"]: row for row in sorted(rows, key=lambda row: row["phase"]) if row["phase"] > 0}
    return [_account(row, endings.get(row["attempt_id"])) for row in rows if row["phase"] == 0]


@asynccontextmanager
async def ledger_locked(url: str) -> AsyncIterator[Callable[[str], Awaitable[object]]]:
    """
    Let nobody else write to the ledger while the block lasts, so that a leader waits and others join it.

    What is given executes a statement; it is committed when the block ends.
    """
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")

            async def execute(statement: str) -> object:
                return connection.execute(statement)

            yield execute
            connection.execute("COMMIT")
        return
    server = await asyncpg.connect(url)
    try:
        async with server.transaction():
            await server.execute("LOCK TABLE entries IN EXCLUSIVE MODE")
            yield server.execute
    finally:
        await server.close()


def _account(opened: sqlite3.Row, ending: sqlite3.Row | None) -> Account:
    return Account(
        attempt_id=opened["attempt_id"],
        deployment=opened["deployment"],
        provider=opened["provider"],
        tenant=opened["tenant"],
        request_id=opened["request_id"],
        prompt_index=opened["prompt_index"],
        tags=json.loads(opened["tags"]),
        reserved=opened["amount_microusd"],
        expires_at=opened["expires_at"],
        ended="open" if ending is None else ending["kind"],
        amount=0 if ending is None else ending["amount_microusd"],
        cost=0 if ending is None else ending["cost_microusd"],
        reason=None if ending is None else ending["reason"],
        upstream_ref=None if ending is None else ending["upstream_ref"],
    )


def rows_in(state: Path) -> int:
    """Return the number of entries."""
    with closing(sqlite3.connect(f"file:{state / 'maskgate.db'}?mode=ro", uri=True)) as database:
        (count,) = database.execute("SELECT count(*) FROM entries").fetchone()
    return int(count)


def assert_books_agree(ledger: Sequence[Account], books: Sequence[Billed]) -> None:
    """
    Hold the ledger against the books.

    Every billed call is settled at the same micro-dollars or held at no less; nothing is settled that nobody billed;
    no attempt is open. Runflow's calls carry our attempt's id; Prodia has no place for it, so a call of its that no
    settlement names has to be one of the held attempts.
    """
    assert [each for each in ledger if each.ended == "open"] == []
    accounts = {each.attempt_id: each for each in ledger}
    settled = {(each.deployment, each.upstream_ref): each for each in ledger if each.ended == "settle" and each.cost}
    lost = [each for each in ledger if each.ended == "hold" and each.provider == "prodia"]
    for call in books:
        account = settled.pop((call.upstream, call.id), None)
        if account is not None:
            assert call.microusd == account.cost == account.amount
            assert call.client_ref in (account.attempt_id, None)
        else:
            account = accounts[call.client_ref] if call.client_ref is not None else lost.pop()
            assert (call.upstream, "hold") == (account.deployment, account.ended), "billed, and not in the ledger"
            assert call.microusd <= account.amount
        assert (call.client_ref is None) == (call.upstream == "prodia")
    assert settled == {}, "settled, and in nobody's books"
