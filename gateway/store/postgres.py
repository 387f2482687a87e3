"""PostgreSQL through asyncpg, for any number of replicas."""

from __future__ import annotations

import asyncio
from typing import TypeVar

import asyncpg  # type: ignore[import-untyped]  # ships no types
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from gateway.store.database import LedgerUnavailable, Work, told
from providers.contract import shortage_of

T = TypeVar("T")

#: SQLSTATE classes that blame the values: data exception, integrity constraint violation.
_VALUES_AT_FAULT = ("22", "23")


class PostgresDatabase:
    """A ledger in PostgreSQL. See `Database`."""

    def __init__(self, url: URL, *, connect_seconds: float) -> None:
        """
        Name the server; connections are made when they are needed.

        Args:
            url: where it is, `postgresql://user@host/db`.
            connect_seconds: how long one connection may take to be made.
        """
        self._url = url
        self._engine = create_async_engine(
            url.set(drivername="postgresql+asyncpg"),
            pool_size=3,  # the journal, what it parked, and one reader
            max_overflow=5,
            pool_timeout=connect_seconds,
            connect_args={
                "timeout": connect_seconds,
                "server_settings": {
                    "application_name": "maskgate",
                    "idle_in_transaction_session_timeout": "10000",  # what a lost gateway has locked comes free
                },
            },
        )

    async def write(self, work: Work[T]) -> T:
        """Do the work in one transaction that PostgreSQL has committed."""
        committing = False
        try:
            async with self._engine.connect() as connection, connection.begin() as transaction:
                result = await connection.run_sync(work)
                committing = True
                await transaction.commit()
        except (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, MemoryError) as error:
            at_fault = not committing and _values_at_fault(error)
            raise LedgerUnavailable(
                told(error), certain=not committing, values_at_fault=at_fault, shortage=shortage_of(error)
            ) from error
        return result

    async def read(self, work: Work[T]) -> T:
        """Do work that only reads."""
        try:
            async with self._engine.connect() as connection:
                return await _read_only(connection, work)
        except (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, MemoryError) as error:
            raise LedgerUnavailable(told(error), certain=True, shortage=shortage_of(error)) from error

    async def close(self) -> None:
        """Close the pool; a server that does not answer is not waited for."""
        try:
            async with asyncio.timeout(3):
                await self._engine.dispose()
        except TimeoutError:
            await self._engine.dispose(close=False)


async def _read_only(connection: AsyncConnection, work: Work[T]) -> T:
    """Do the work in one read-only snapshot, so that all its figures are of one moment."""
    await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return await connection.run_sync(work)


def _values_at_fault(error: Exception) -> bool:
    """Whether the server is well and only the values are refused."""
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", None) or ""
    cause = getattr(error.orig, "__cause__", None)
    return state.startswith(_VALUES_AT_FAULT) or isinstance(cause, asyncpg.DataError)
