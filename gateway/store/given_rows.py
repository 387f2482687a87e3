"""
A statement over rows that we give it, on SQLite and on PostgreSQL: one statement a batch, however many rows.

Why one: a statement a row makes Python give up and win back its lock for each row, and beside a busy event loop every
one of those waits up to 5 ms (64 rows took 230 ms, in one statement 20 ms). Why below SQLAlchemy on SQLite: it takes
60 us for a statement that SQLite does in 10.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain
from typing import Any, Protocol, cast

from sqlalchemy import Connection, Table


class Answer(Protocol):
    """What both drivers give back."""

    @property
    def rowcount(self) -> int:
        """How many rows were written."""

    def fetchall(self) -> Sequence[Sequence[Any]]:
        """Return the rows."""


def unnested(table: Table, columns: Sequence[str], *, first: int = 1) -> str:
    """
    Return a PostgreSQL query for rows that come as one array for each column.

    Args:
        table: its columns have the types of the arrays.
        columns: named as in the table.
        first: the number of the first parameter.
    """
    types = ["bigint" if table.c[name].type.python_type is int else "text" for name in columns]
    arrays = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(types, first))
    return f"SELECT * FROM unnest({arrays})"  # noqa: S608 - made of types alone


def in_columns(rows: Sequence[Iterable[Any]]) -> tuple[list[Any], ...]:
    """Return rows as one array for each column."""
    return tuple(list(column) for column in zip(*rows, strict=True))


class GivenRows:
    """A statement that reads what it is given from `given`, a table for the time of the statement."""

    def __init__(self, table: Table, columns: Sequence[str], sql: str, *, postgres: str = "") -> None:
        """
        Make the statement for both databases.

        Args:
            table: its columns have the types of those of `given`.
            columns: of `given`, named as in the table.
            sql: with `{given}` where `given` is defined. A row of nothing but NULL may be among those given.
            postgres: what PostgreSQL has behind it.
        """
        self._width = len(columns)
        head = f"WITH given ({', '.join(columns)}) AS"
        self._postgres = sql.format(given=f"{head} ({unnested(table, columns)})") + postgres
        row = "(" + ", ".join("?" * self._width) + ")"

        @cache
        def of_rows(rows: int) -> str:
            return sql.format(given=f"{head} (VALUES {', '.join([row] * rows)})")

        self._sqlite = of_rows

    def on(self, connection: Connection, rows: Sequence[Iterable[Any]]) -> Answer:
        """Execute it with some rows, at least one."""
        if connection.dialect.name == "postgresql":
            return connection.exec_driver_sql(self._postgres, in_columns(rows))
        size = 1 << (len(rows) - 1).bit_length()  # few sizes, so that SQLite keeps their statements prepared
        padding = (None,) * ((size - len(rows)) * self._width)
        raw = cast("sqlite3.Connection", connection.connection.driver_connection)
        return raw.execute(self._sqlite(size), (*chain.from_iterable(rows), *padding))
