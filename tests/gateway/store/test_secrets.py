"""What all gateways on a database sign with."""

from __future__ import annotations

import asyncio
import itertools

from gateway.store import open_database
from gateway.store.secrets import secret


async def test_a_secret_is_made_once(database_url: str) -> None:
    """It stays what it was, for another gateway and another day; another name has another one."""
    database = await open_database(database_url)
    try:
        first = await secret(database, "quotes")
        assert 32 == len(first)
        assert first == await secret(database, "quotes")
        assert first != await secret(database, "other")
    finally:
        await database.close()
    again = await open_database(database_url)
    try:
        assert first == await secret(again, "quotes", new=lambda: b"never")
    finally:
        await again.close()


async def test_gateways_that_start_at_once_agree(database_url: str) -> None:
    """Eight gateways on one new database, each with a secret of its own in mind, end with the same one."""
    gateways = [await open_database(database_url) for _ in range(4)]
    numbers = itertools.count()
    try:
        for name in ("quotes", "pages", "links"):
            made = await asyncio.gather(
                *(secret(each, name, new=lambda: b"%032d" % next(numbers)) for each in gateways * 2)
            )
            assert 8 == len(made)
            assert 1 == len(set(made))
    finally:
        for each in gateways:
            await each.close()
