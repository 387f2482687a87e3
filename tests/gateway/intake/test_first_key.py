"""The first API key, in both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.intake.first_key import FIRST_KEY_ID, FIRST_TENANT, issue_first_key
from gateway.request import Scope
from gateway.store import Keys, fingerprint, open_database


@pytest.fixture
async def two_stores(database_url: str) -> AsyncIterator[tuple[Keys, Keys]]:
    """The keys of a new database, as two gateways see them."""
    databases = [await open_database(database_url) for _ in range(2)]
    first, second = (Keys(database, lambda: 1_800_000_000.0) for database in databases)
    yield first, second
    for database in databases:
        await database.close()


async def test_first_key_is_shown_once_and_may_do_everything(two_stores: tuple[Keys, Keys]) -> None:
    """What is shown is the key that the store knows by its hash; a second start shows nothing."""
    keys, shown = two_stores[0], list[str]()
    await issue_first_key(keys, shown.append)
    await issue_first_key(keys, shown.append)
    (secret,) = shown
    key = await keys.find_key(fingerprint(secret))
    assert key is not None
    assert (FIRST_KEY_ID, FIRST_TENANT, frozenset(Scope)) == (key.id, key.tenant, key.grant.scopes)


async def test_of_processes_that_start_at_once_one_shows_a_key(two_stores: tuple[Keys, Keys]) -> None:
    """However many find that there is none, one key is made, and that one is shown."""
    shown: list[str] = []
    await asyncio.gather(*(issue_first_key(keys, shown.append) for keys in [*two_stores] * 5))
    (secret,) = shown
    assert await two_stores[0].find_key(fingerprint(secret)) is not None


async def test_no_first_key_is_made_where_keys_are(two_stores: tuple[Keys, Keys]) -> None:
    """An operator who has revoked the first key, or made others before, is shown none."""
    keys, shown = two_stores[0], list[str]()
    await issue_first_key(keys, shown.append)
    await keys.revoke_key(FIRST_KEY_ID)
    shown.clear()
    await issue_first_key(keys, shown.append)
    assert [] == shown
