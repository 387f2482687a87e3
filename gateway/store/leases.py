"""
A lease on a piece of work that one gateway at a time should do, such as the sweep.

Whoever has it renews it. When that gateway dies or hangs, the lease runs out, and another one takes it. Every taking
raises the token, so that a gateway which was only asleep finds its lease gone, even if it was given back meanwhile.

On PostgreSQL the database's clock alone decides. SQLite serves the processes of one machine, which have one clock. A
lease that would last longer than any of its kind was taken before that clock was set back, and is free.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, CursorResult, text

from gateway.store.database import Database, LedgerUnavailable

_MICROS = 1_000_000
_TEN_YEARS = 3650 * 86_400.0
_NOW = {"postgresql": "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)", "sqlite": ":now"}

_TAKE = """
INSERT INTO leases (name, holder, token, expires_at) VALUES (:name, :holder, 1, {now} + :span)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, token = leases.token + 1, expires_at = excluded.expires_at
WHERE leases.expires_at <= {now} OR leases.expires_at > {now} + :longest OR leases.holder = excluded.holder
RETURNING token
"""
_RENEW = "UPDATE leases SET expires_at = {now} + :span WHERE name = :name AND holder = :holder AND token = :token"
_GIVE_BACK = "UPDATE leases SET expires_at = 0 WHERE name = :name AND holder = :holder AND token = :token"


class Lease:
    """One gateway's part in a lease: to be held, or waited for."""

    def __init__(
        self,
        database: Database,
        name: str,
        *,
        holder: str,
        seconds: float,
        wall: Callable[[], float],
        longest_seconds: float = _TEN_YEARS,
    ) -> None:
        """
        Have it taken by nobody yet.

        Args:
            database: where all who want it meet.
            name: of the work.
            holder: this gateway, unlike any other.
            seconds: how long it lasts without being renewed: several times as long as the pauses between.
            wall: seconds since 1970, UTC; read on SQLite alone.
            longest_seconds: nobody takes it for longer: one that would last so long was taken before the calendar was
                set back.
        """
        self._database = database
        self._given: dict[str, str | int] = {"name": name, "holder": holder, "span": round(seconds * _MICROS)}
        self._given["longest"] = round(longest_seconds * _MICROS)
        self._wall = wall
        self._token: int | None = None

    @property
    def token(self) -> int | None:
        """Greater than that of every holder before; None while this gateway knows that it does not have the lease."""
        return self._token

    async def hold(self) -> bool:
        """
        Renew the lease, or take it where it is free; whether this gateway has it for the next `seconds`.

        Raises:
            LedgerUnavailable: nobody knows, so the work is left to others.
        """
        return await self.renew() or await self.take() is not None

    async def take(self) -> int | None:
        """
        Take the lease where nobody else has it.

        Returns:
            Its token; None where another gateway has it.
        """
        self._token = None
        self._token = await self._database.write(
            lambda connection: _execute(connection, _TAKE, self._values()).scalar()
        )
        return self._token

    async def renew(self) -> bool:
        """Make it last anew; False where it was never taken, or where another gateway has taken it since."""
        if self._token is None:
            return False
        values = self._values() | {"token": self._token}
        renewed = await self._database.write(lambda connection: _execute(connection, _RENEW, values).rowcount == 1)
        if not renewed:
            self._token = None
        return renewed

    async def is_mine(self) -> bool:
        """Renew or take the lease as `hold` does; not this gateway's while the database is gone."""
        try:
            return await self.hold()
        except LedgerUnavailable:
            return False

    async def leave(self) -> None:
        """Give the lease back; while the database is gone, it runs out by itself."""
        with suppress(LedgerUnavailable):
            await self.give_back()

    async def give_back(self) -> None:
        """Let others have it at once; where another has it already, nothing happens."""
        if self._token is None:
            return
        values = self._values() | {"token": self._token}
        self._token = None
        await self._database.write(lambda connection: _execute(connection, _GIVE_BACK, values))

    def _values(self) -> dict[str, str | int]:
        return self._given | {"now": round(self._wall() * _MICROS)}


def _execute(connection: Connection, statement: str, values: Mapping[str, str | int]) -> CursorResult[Any]:
    """Execute a statement with the moment that decides on this database."""
    return connection.execute(text(statement.format(now=_NOW[connection.dialect.name])), values)
