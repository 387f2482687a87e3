"""
API keys: who may ask. The key itself is never stored, only its SHA-256.

Rotation gives a key another secret and leaves its id, so that its budgets, its limits and its place in reports go on.
The earlier secret lives on until its grace ends, in a row of its own that stands for the key: whatever is spent with
either is spent by one key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, Row, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from gateway.request import UNLIMITED, RateLimit, Scope
from gateway.store.database import Database, LedgerUnavailable
from gateway.store.key_bell import ring
from gateway.store.rates import read_rate, write_rate
from gateway.store.tables import api_keys

MICROS = 1_000_000

#: What every key begins with, so that one that has leaked is known for what it is.
KEY_PREFIX = "mg_"
#: Characters of a key that are shown, to tell it from others: 7 random ones of 32.
SHOWN_CHARACTERS = 10

_PAGE = 100


class KeyExists(Exception):
    """A key with that id or that hash is there already."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a key may do."""

    scopes: frozenset[Scope] = frozenset({Scope.SEGMENT, Scope.USAGE})
    """At least one."""
    limit: RateLimit = UNLIMITED
    """The key's own; the gateway's default holds where it names none."""
    expires_at: int | None = None
    """Microseconds since 1970, UTC: from then on the key is good for nothing. None: never."""

    def __post_init__(self) -> None:
        """Refuse a key that could do nothing."""
        if not self.scopes:
            raise ValueError(f"a key needs at least one scope; there are {', '.join(Scope)}")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A caller's key, as it is stored."""

    id: str
    tenant: str
    name: str
    """What its maker calls it."""
    prefix: str
    """The key's first characters: enough to know it again, too few to guess it."""
    sha256: str
    """Of the key's UTF-8 bytes, in hexadecimal."""
    grant: Grant
    created_at: int
    """Microseconds since 1970, UTC."""
    revoked_at: int | None = None
    """Microseconds since 1970, UTC; None while it is good."""
    replaces: str | None = None
    """The key that this row stands for: it holds an earlier secret of it, whose grace goes on."""

    @property
    def account_id(self) -> str:
        """The id under which its spending is written."""
        return self.replaces or self.id

    def good_at(self, moment: int) -> bool:
        """Whether it lets anybody in then, in microseconds since 1970."""
        return self.revoked_at is None and (self.grant.expires_at is None or moment < self.grant.expires_at)


def fingerprint(key: str) -> str:
    """
    Return what is stored of a key.

    A plain SHA-256 is enough, because a key is 192 random bits: there is nothing to guess and so nothing to slow down.
    """
    return hashlib.sha256(key.encode()).hexdigest()


class Keys:
    """The keys in a database. Every change is rung out; see `key_bell.py`."""

    def __init__(self, database: Database, wall: Callable[[], float]) -> None:
        """Use a database and a clock of seconds since 1970."""
        self._database = database
        self._wall = wall

    def now(self) -> int:
        """Return the moment that keys are judged by, in microseconds since 1970."""
        return round(self._wall() * MICROS)

    async def add_key(
        self,
        key_id: str,
        *,
        tenant: str,
        sha256: str,
        prefix: str = KEY_PREFIX,
        name: str = "",
        grant: Grant = Grant(),
        also: Callable[[Connection], object] | None = None,
    ) -> ApiKey:
        """
        Store a new key.

        Args:
            key_id: unique for ever.
            tenant: who pays.
            sha256: see `fingerprint`.
            prefix: the key's first `SHOWN_CHARACTERS`.
            name: what its maker calls it.
            grant: what it may do.
            also: done in the same transaction, once the key is there: when it raises, there is no key.

        Raises:
            KeyExists: the id or the hash is taken.
            LedgerUnavailable: it is not stored, or nobody knows.
        """
        key = ApiKey(key_id, tenant, name, prefix, sha256, grant, self.now())

        def add(connection: Connection) -> None:
            connection.execute(insert(api_keys).values(_row(key)))
            if also is not None:
                also(connection)

        try:
            await self._database.write(add)
        except LedgerUnavailable as failure:
            if isinstance(failure.__cause__, IntegrityError):
                raise KeyExists(f"the key {key_id!r} is there already: choose another id") from failure
            raise
        return key

    async def find_key(self, sha256: str) -> ApiKey | None:
        """Return the key with that hash, good or not; None where there is none."""
        return await self._database.read(partial(_one, condition=api_keys.c.sha256 == sha256))

    async def key(self, key_id: str) -> ApiKey | None:
        """Return the key with that id, good or not; None where there is none."""
        return await self._database.read(partial(_one, condition=api_keys.c.id == key_id))

    async def list_keys(self, *, tenant: str | None = None, after: str = "", most: int = _PAGE) -> list[ApiKey]:
        """
        Return keys in the order of their ids, good or not.

        Args:
            tenant: of this one alone.
            after: those alone whose id comes after this one.
            most: how many.
        """
        query = select(api_keys).where(api_keys.c.id > after).order_by(api_keys.c.id).limit(most)
        if tenant is not None:
            query = query.where(api_keys.c.tenant == tenant)
        return await self._database.read(lambda connection: [_key(row) for row in connection.execute(query)])

    async def any_key(self) -> bool:
        """Whether there is a key that is not revoked."""
        query = select(api_keys.c.id).where(api_keys.c.revoked_at.is_(None)).limit(1)
        return await self._database.read(lambda connection: connection.execute(query).first() is not None)

    async def revoke_key(self, key_id: str) -> bool:
        """
        Make a key and its earlier secrets good for nothing from now on; False where it was that already.

        Raises:
            LedgerUnavailable: it is not revoked, or nobody knows.
        """
        named = or_(api_keys.c.id == key_id, api_keys.c.replaces == key_id)
        change = update(api_keys).where(named, api_keys.c.revoked_at.is_(None)).values(revoked_at=self.now())

        def revoke(connection: Connection) -> bool:
            changed = connection.execute(change).rowcount > 0
            if changed:
                ring(connection)
            return changed

        return await self._database.write(revoke)

    async def rotate_key(
        self, key_id: str, *, sha256: str, prefix: str, earlier_id: str, grace_seconds: float
    ) -> ApiKey | None:
        """
        Give a key another secret; what it may do, its budgets and its id stay.

        Args:
            key_id: the key.
            sha256: of the new secret.
            prefix: the new secret's first `SHOWN_CHARACTERS`.
            earlier_id: what the earlier secret is listed under while it is still good.
            grace_seconds: how long that is, but never beyond the key's own end; 0 for not at all.

        Returns:
            The key as it is now; None where no good key has that id.

        Raises:
            KeyExists: the earlier id or the hash is taken.
            LedgerUnavailable: it is not rotated, or nobody knows.
        """
        now = self.now()
        grace_ends = now + round(grace_seconds * MICROS)

        def rotate(connection: Connection) -> ApiKey | None:
            query = select(api_keys).where(api_keys.c.id == key_id).with_for_update()
            row = connection.execute(query).one_or_none()
            key = None if row is None else _key(row)
            if key is None or key.replaces is not None or not key.good_at(now):
                return None
            change = update(api_keys).where(api_keys.c.id == key_id).values(sha256=sha256, prefix=prefix)
            connection.execute(change)
            if grace_seconds > 0:
                connection.execute(insert(api_keys).values(_row(_earlier(key, earlier_id, now, grace_ends))))
            ring(connection)
            return _one(connection, condition=api_keys.c.id == key_id)

        try:
            return await self._database.write(rotate)
        except LedgerUnavailable as failure:
            if isinstance(failure.__cause__, IntegrityError):
                raise KeyExists(f"the key {earlier_id!r} is there already: choose another id") from failure
            raise

    async def settle(self) -> None:
        """
        Return once every change that had begun has been committed or given up.

        Why writing does that: on SQLite whoever writes waits for whoever wrote before.

        Raises:
            LedgerUnavailable: nobody knows.
        """
        await self._database.write(lambda _connection: None)


def _earlier(key: ApiKey, earlier_id: str, now: int, grace_ends: int) -> ApiKey:
    """Return the row that keeps a key's present secret good until the grace ends."""
    ends = grace_ends if key.grant.expires_at is None else min(grace_ends, key.grant.expires_at)
    grant = Grant(key.grant.scopes, key.grant.limit, ends)
    return ApiKey(earlier_id, key.tenant, key.name, key.prefix, key.sha256, grant, now, replaces=key.id)


def _one(connection: Connection, *, condition: Any) -> ApiKey | None:
    row = connection.execute(select(api_keys).where(condition)).one_or_none()
    return None if row is None else _key(row)


def _row(key: ApiKey) -> dict[str, Any]:
    """Return a key as its columns."""
    rate = key.grant.limit.requests_per_second
    return {
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "prefix": key.prefix,
        "sha256": key.sha256,
        "scopes": " ".join(scope.value for scope in Scope if scope in key.grant.scopes),
        "created_at": key.created_at,
        "expires_at": key.grant.expires_at,
        "revoked_at": key.revoked_at,
        "replaces": key.replaces,
        "requests_per_second": None if rate is None else write_rate(rate),
        "burst": key.grant.limit.burst,
        "concurrency": key.grant.limit.concurrency,
    }


def _key(row: Row[Any]) -> ApiKey:
    """Return what a row says."""
    rate = None if row.requests_per_second is None else read_rate(row.requests_per_second)
    limit = RateLimit(rate, row.burst, row.concurrency)
    return ApiKey(
        id=row.id,
        tenant=row.tenant,
        name=row.name,
        prefix=row.prefix,
        sha256=row.sha256,
        grant=Grant(frozenset(map(Scope, row.scopes.split())), limit, row.expires_at),
        created_at=row.created_at,
        revoked_at=row.revoked_at,
        replaces=row.replaces,
    )
