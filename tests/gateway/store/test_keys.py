"""API keys in both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.store import ApiKey, KeyExists, Keys, fingerprint, open_database

NOW = 1_800_000_000.25


@pytest.fixture
async def keys(database_url: str) -> AsyncIterator[Keys]:
    """No keys yet."""
    database = await open_database(database_url)
    yield Keys(database, lambda: NOW)
    await database.close()


async def test_a_key_is_found_by_its_hash(keys: Keys) -> None:
    """What was stored comes back, and nothing comes back for another key."""
    assert not await keys.any_key()
    stored = await keys.add_key("key_1", tenant="acme", sha256=fingerprint("mg_secret"))
    assert stored == ApiKey("key_1", "acme", fingerprint("mg_secret"), 1_800_000_000_250_000, None)
    assert await keys.find_key(fingerprint("mg_secret")) == stored
    assert await keys.find_key(fingerprint("mg_other")) is None
    assert await keys.any_key()


async def test_a_key_is_stored_once(keys: Keys) -> None:
    """Neither an id nor a hash is given out twice."""
    await keys.add_key("key_1", tenant="acme", sha256="aa")
    with pytest.raises(KeyExists, match="key_1"):
        await keys.add_key("key_1", tenant="acme", sha256="bb")
    with pytest.raises(KeyExists, match="key_2"):
        await keys.add_key("key_2", tenant="acme", sha256="aa")


async def test_a_revoked_key_says_when(keys: Keys) -> None:
    """A key is revoked once, is found with the time of that, and no longer counts as a good one."""
    await keys.add_key("key_1", tenant="acme", sha256="aa")
    assert await keys.revoke_key("key_1")
    assert not await keys.revoke_key("key_1")
    assert not await keys.revoke_key("key_9")
    found = await keys.find_key("aa")
    assert found is not None
    assert found.revoked_at == 1_800_000_000_250_000
    assert not await keys.any_key()
