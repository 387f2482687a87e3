"""Which deployments the operator has drained: one row each, for every gateway on the database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from gateway.store.database import Database
from gateway.store.tables import drained_deployments

_MICROS = 1_000_000


@dataclass(frozen=True, slots=True)
class Drained:
    """A deployment that takes no traffic."""

    deployment: str
    reason: str
    """The operator's words."""
    key_id: str
    """The administrator's key."""
    at: int
    """When it was last said, in microseconds since 1970, UTC."""


class DrainedDeployments:
    """The drained deployments in a database."""

    def __init__(self, database: Database, wall: Callable[[], float]) -> None:
        """Use a database and a clock of seconds since 1970."""
        self._database = database
        self._wall = wall

    async def all(self) -> list[Drained]:
        """
        Return all of them, by name.

        Raises:
            LedgerUnavailable: no answer.
        """
        return await self._database.read(_all)

    async def add(self, deployment: str, *, reason: str, key_id: str) -> list[Drained]:
        """
        Drain a deployment, or give one that is drained another reason; return all that are drained then.

        Raises:
            LedgerUnavailable: it is not drained, or nobody knows.
        """
        values = {"reason": reason, "key_id": key_id, "at": round(self._wall() * _MICROS)}

        def put(connection: Connection) -> list[Drained]:
            change = update(drained_deployments).where(drained_deployments.c.deployment == deployment)
            if connection.execute(change.values(values)).rowcount == 0:
                connection.execute(insert(drained_deployments).values(deployment=deployment, **values))
            return _all(connection)

        return await self._database.write(put)

    async def remove(self, deployment: str) -> list[Drained]:
        """
        Let a deployment take traffic again; return all that are drained still.

        Raises:
            LedgerUnavailable: it is drained still, or nobody knows.
        """

        def take_out(connection: Connection) -> list[Drained]:
            connection.execute(delete(drained_deployments).where(drained_deployments.c.deployment == deployment))
            return _all(connection)

        return await self._database.write(take_out)


def _all(connection: Connection) -> list[Drained]:
    rows = connection.execute(select(drained_deployments).order_by(drained_deployments.c.deployment))
    return [Drained(row.deployment, row.reason, row.key_id, row.at) for row in rows]
