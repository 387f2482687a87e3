"""What all gateways on one database sign with: made once, by whoever comes first."""

from __future__ import annotations

import secrets as randomness
from collections.abc import Callable

from sqlalchemy import Connection, select, text

from gateway.store.database import Database
from gateway.store.tables import secrets

SIZE = 32

_ADD = text("INSERT INTO secrets (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING")


def new_secret() -> bytes:
    """Return 32 random bytes."""
    return randomness.token_bytes(SIZE)


async def secret(database: Database, name: str, *, new: Callable[[], bytes] = new_secret) -> bytes:
    """
    Return the secret of a name: the same for every gateway on the database, for ever.

    Args:
        database: where it is kept.
        name: what it is for, as `quotes`.
        new: makes it, where nobody has yet.

    Raises:
        LedgerUnavailable: the database brings no answer.
    """
    query = select(secrets.c.value).where(secrets.c.name == name)

    def add(connection: Connection) -> str:
        # Of several gateways that start at once, all but one wait here for the first one's row, and then read it.
        connection.execute(_ADD, {"name": name, "value": new().hex()})
        return str(connection.execute(query).scalar_one())

    kept = await database.read(lambda connection: connection.execute(query).scalar_one_or_none())
    return bytes.fromhex(kept if kept is not None else await database.write(add))
