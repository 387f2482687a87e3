"""API keys: who may ask. The key itself is never stored, only its SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from gateway.store.database import Database, LedgerUnavailable
from gateway.store.tables import api_keys

MICROS = 1_000_000


class KeyExists(Exception):
    """A key with that id or that hash is there already."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A caller's key, as it is stored."""

    id: str
    tenant: str
    sha256: str
    """Of the key's UTF-8 bytes, in hexadecimal."""
    created_at: int
    """Microseconds since 1970, UTC."""
    revoked_at: int | None = None
    """Microseconds since 1970, UTC; None while it is good."""


def fingerprint(key: str) -> str:
    """
    Return what is stored of a key.

    A plain SHA-256 is enough, because a key is 32 random bytes: there is nothing to guess and so nothing to slow down.
    """
    return hashlib.sha256(key.encode()).hexdigest()


class Keys:
    """The keys in a database."""

    def __init__(self, database: Database, wall: Callable[[], float]) -> None:
        """Use a database and a clock of seconds since 1970."""
        self._database = database
        self._wall = wall

    async def add_key(self, key_id: str, *, tenant: str, sha256: str) -> ApiKey:
        """
        Store a new key.

        Raises:
            KeyExists: the id or the hash is taken.
            LedgerUnavailable: it is not stored, or nobody knows.
        """
        key = ApiKey(key_id, tenant, sha256, self._now())

        def add(connection: Connection) -> None:
            connection.execute(
                insert(api_keys).values(
                    id=key.id, tenant=key.tenant, sha256=key.sha256, created_at=key.created_at, revoked_at=None
                )
            )

        try:
            await self._database.write(add)
        except LedgerUnavailable as failure:
            if isinstance(failure.__cause__, IntegrityError):
                raise KeyExists(f"the key {key_id!r} is there already: choose another id") from failure
            raise
        return key

    async def find_key(self, sha256: str) -> ApiKey | None:
        """Return the key with that hash, revoked or not; None where there is none."""

        def find(connection: Connection) -> ApiKey | None:
            row = connection.execute(select(api_keys).where(api_keys.c.sha256 == sha256)).one_or_none()
            return None if row is None else ApiKey(*row)

        return await self._database.read(find)

    async def any_key(self) -> bool:
        """Whether any key is good."""
        query = select(api_keys.c.id).where(api_keys.c.revoked_at.is_(None)).limit(1)
        return await self._database.read(lambda connection: connection.execute(query).first() is not None)

    async def revoke_key(self, key_id: str) -> bool:
        """Make a key good for nothing from now on; False where no good key has that id."""
        good = (api_keys.c.id == key_id) & api_keys.c.revoked_at.is_(None)
        change = update(api_keys).where(good).values(revoked_at=self._now())
        return await self._database.write(lambda connection: connection.execute(change).rowcount == 1)

    def _now(self) -> int:
        return round(self._wall() * MICROS)
