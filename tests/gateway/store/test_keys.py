"""API keys in both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from fractions import Fraction

import pytest
from sqlalchemy import Connection, select

from gateway.request import RateLimit, Scope
from gateway.store import Database, KeyExists, Keys, api_keys, fingerprint, open_database
from gateway.store.keys import MICROS, ApiKey, Grant

NOW = 1_800_000_000_250_000


class Wall:
    """Seconds since 1970, wound by hand."""

    def __init__(self) -> None:
        self.micros = NOW

    def __call__(self) -> float:
        """Return the seconds that it shows."""
        return self.micros / MICROS


@pytest.fixture
def wall() -> Wall:
    """A clock at some moment."""
    return Wall()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database of each kind."""
    database = await open_database(database_url)
    yield database
    await database.close()


@pytest.fixture
def keys(database: Database, wall: Wall) -> Keys:
    """No keys yet."""
    return Keys(database, wall)


async def test_a_key_is_found_by_its_hash_and_by_its_id(keys: Keys) -> None:
    """What was stored comes back whole, and nothing comes back for another key."""
    assert not await keys.any_key()
    grant = Grant(frozenset(Scope), RateLimit(Fraction(1, 10), 5, 7), NOW + 1)
    stored = await keys.add_key(
        "key_1", tenant="acme", sha256=fingerprint("mg_secret"), prefix="mg_secret", name="CI", grant=grant
    )
    assert ApiKey("key_1", "acme", "CI", "mg_secret", fingerprint("mg_secret"), grant, NOW) == stored
    assert stored == await keys.find_key(fingerprint("mg_secret"))
    assert stored == await keys.key("key_1")
    assert await keys.find_key(fingerprint("mg_other")) is None
    assert await keys.key("key_2") is None
    assert await keys.any_key()


async def test_a_key_without_wishes_may_spend_and_read_but_not_administer(keys: Keys) -> None:
    """A key gets the scope admin only where somebody says so."""
    stored = await keys.add_key("key_1", tenant="acme", sha256="aa")
    assert frozenset({Scope.SEGMENT, Scope.USAGE}) == stored.grant.scopes


def test_a_key_with_no_scope_is_refused() -> None:
    """There is no key that could do nothing."""
    with pytest.raises(ValueError, match="at least one scope; there are segment, usage, metrics, admin"):
        Grant(frozenset())


async def test_a_key_is_stored_once(keys: Keys) -> None:
    """Neither an id nor a hash is given out twice."""
    await keys.add_key("key_1", tenant="acme", sha256="aa")
    with pytest.raises(KeyExists, match="key_1"):
        await keys.add_key("key_1", tenant="acme", sha256="bb")
    with pytest.raises(KeyExists, match="key_2"):
        await keys.add_key("key_2", tenant="acme", sha256="aa")


async def test_a_key_whose_companion_fails_is_not_left_behind(keys: Keys) -> None:
    """What is done together with a key is done in its transaction: either both are there, or neither."""
    seen: list[str] = []

    def fail(connection: Connection) -> None:
        seen.extend(connection.execute(select(api_keys.c.id)).scalars())
        raise LookupError("no budget")

    with pytest.raises(LookupError):
        await keys.add_key("key_1", tenant="acme", sha256="aa", also=fail)
    assert ["key_1"] == seen
    assert await keys.key("key_1") is None


async def test_a_revoked_key_says_when(keys: Keys) -> None:
    """A key is revoked once, is found with the time of that, and no longer counts as a good one."""
    await keys.add_key("key_1", tenant="acme", sha256="aa")
    assert await keys.revoke_key("key_1")
    assert not await keys.revoke_key("key_1")
    assert not await keys.revoke_key("key_9")
    found = await keys.find_key("aa")
    assert found is not None
    assert NOW == found.revoked_at
    assert not found.good_at(NOW)
    assert not await keys.any_key()


async def test_a_key_ends_with_its_last_microsecond(keys: Keys) -> None:
    """A key is good before the moment of its end and not at it."""
    stored = await keys.add_key("key_1", tenant="acme", sha256="aa", grant=Grant(expires_at=NOW + 10))
    assert [True, False] == [stored.good_at(NOW + 9), stored.good_at(NOW + 10)]


async def test_keys_are_listed_in_pages(keys: Keys) -> None:
    """Pages follow one another without a gap, of all tenants or of one."""
    for number in range(5):
        await keys.add_key(f"key_{number}", tenant=f"t{number % 2}", sha256=str(number))
    first = await keys.list_keys(most=3)
    second = await keys.list_keys(most=3, after=first[-1].id)
    assert [f"key_{number}" for number in range(5)] == [key.id for key in [*first, *second]]
    assert ["key_1", "key_3"] == [key.id for key in await keys.list_keys(tenant="t1")]
    assert [] == await keys.list_keys(after="key_4")


async def test_a_rotated_key_keeps_its_id_and_its_rights(keys: Keys, wall: Wall) -> None:
    """Both secrets stand for the one key until the grace ends; then only the new one does."""
    grant = Grant(frozenset({Scope.ADMIN}), RateLimit(Fraction(5), 2, 3), NOW + 100 * MICROS)
    await keys.add_key("key_1", tenant="acme", sha256="old", prefix="mg_old", name="CI", grant=grant)
    wall.micros += MICROS
    rotated = await keys.rotate_key("key_1", sha256="new", prefix="mg_new", earlier_id="key_0", grace_seconds=60)
    assert rotated is not None
    assert ApiKey("key_1", "acme", "CI", "mg_new", "new", grant, NOW) == rotated
    earlier = await keys.find_key("old")
    assert earlier is not None
    assert ("key_0", "key_1", "key_1", "mg_old") == (
        earlier.id,
        earlier.replaces,
        earlier.account_id,
        earlier.prefix,
    )
    assert Grant(grant.scopes, grant.limit, wall.micros + 60 * MICROS) == earlier.grant
    assert [True, False] == [earlier.good_at(wall.micros), earlier.good_at(wall.micros + 60 * MICROS)]


async def test_a_grace_never_outlives_the_key(keys: Keys) -> None:
    """An earlier secret ends with the key at the latest."""
    await keys.add_key("key_1", tenant="acme", sha256="old", grant=Grant(expires_at=NOW + 5 * MICROS))
    await keys.rotate_key("key_1", sha256="new", prefix="mg_", earlier_id="key_0", grace_seconds=60)
    earlier = await keys.find_key("old")
    assert earlier is not None
    assert NOW + 5 * MICROS == earlier.grant.expires_at


async def test_without_a_grace_the_earlier_secret_is_gone_at_once(keys: Keys) -> None:
    """A key that has leaked can be replaced without leaving the leak open."""
    await keys.add_key("key_1", tenant="acme", sha256="old")
    await keys.rotate_key("key_1", sha256="new", prefix="mg_", earlier_id="key_0", grace_seconds=0)
    assert await keys.find_key("old") is None
    assert ["key_1"] == [key.id for key in await keys.list_keys()]


async def test_a_key_is_revoked_with_its_earlier_secrets(keys: Keys) -> None:
    """No grace outlives a revocation."""
    await keys.add_key("key_1", tenant="acme", sha256="old")
    await keys.rotate_key("key_1", sha256="new", prefix="mg_", earlier_id="key_0", grace_seconds=60)
    assert await keys.revoke_key("key_1")
    found = [await keys.find_key(sha256) for sha256 in ("old", "new")]
    assert [NOW, NOW] == [key.revoked_at for key in found if key is not None]


async def test_a_grace_can_be_ended_early(keys: Keys) -> None:
    """An earlier secret is revoked by its own id, and the key goes on."""
    await keys.add_key("key_1", tenant="acme", sha256="old")
    await keys.rotate_key("key_1", sha256="new", prefix="mg_", earlier_id="key_0", grace_seconds=60)
    assert await keys.revoke_key("key_0")
    found = [await keys.find_key(sha256) for sha256 in ("old", "new")]
    assert [NOW, None] == [key.revoked_at for key in found if key is not None]


async def test_only_a_good_key_is_rotated(keys: Keys) -> None:
    """What is revoked, expired, an earlier secret, or not there is left as it is."""
    await keys.add_key("key_1", tenant="acme", sha256="one")
    await keys.rotate_key("key_1", sha256="two", prefix="mg_", earlier_id="key_0", grace_seconds=60)
    await keys.add_key("key_2", tenant="acme", sha256="three")
    await keys.revoke_key("key_2")
    await keys.add_key("key_3", tenant="acme", sha256="four", grant=Grant(expires_at=NOW))
    before = await keys.list_keys()
    for key_id in ("key_0", "key_2", "key_3", "key_9"):
        assert await keys.rotate_key(key_id, sha256="x", prefix="mg_", earlier_id="key_x", grace_seconds=9) is None
    assert before == await keys.list_keys()
    with pytest.raises(KeyExists, match="key_2"):
        await keys.rotate_key("key_1", sha256="five", prefix="mg_", earlier_id="key_2", grace_seconds=9)
    assert before == await keys.list_keys()
