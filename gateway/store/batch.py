"""
A whole batch of entries into the ledger, in the transaction that the caller has begun.

The hot path is one statement a batch. Why one: a statement a row makes Python give up and win back its lock for each
row, and beside a busy event loop every one of those waits up to 5 ms (64 rows took 230 ms, in one statement 20 ms).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any

from sqlalchemy import Connection, select

from gateway.store.entry import Entry, Verdict, judge
from gateway.store.tables import entries

_COLUMNS = ", ".join(Entry._fields)

#: An ending is written where its reservation stands and covers it; nothing is written twice.
_INSERT = (
    f"INSERT INTO entries ({_COLUMNS}) WITH given ({_COLUMNS}) AS ({{rows}})"  # noqa: S608 - made of column names alone
    f" SELECT {_COLUMNS} FROM given WHERE given.phase = 0 OR EXISTS (SELECT 1 FROM entries AS opened"
    " WHERE opened.attempt_id = given.attempt_id AND opened.phase = 0"
    " AND opened.amount_microusd >= given.amount_microusd)"
    " ON CONFLICT (attempt_id, phase) DO NOTHING"
)

_WHOLE = frozenset(name for name, column in entries.c.items() if column.type.python_type is int)
_ARRAYS = ", ".join(f"${i}::{'bigint' if name in _WHOLE else 'text'}[]" for i, name in enumerate(Entry._fields, 1))
_POSTGRES_INSERT = _INSERT.format(rows=f"SELECT * FROM unnest({_ARRAYS})")  # noqa: S608 - made of column names alone

_OF_ATTEMPTS = [entries.c[name] for name in Entry._fields]
_ROUNDS = 3


@cache
def _sqlite_insert(rows: int) -> str:
    """Return the statement for that many rows; rows of nothing but NULL are passed over."""
    row = "(" + ", ".join("?" * len(Entry._fields)) + ")"
    return _INSERT.format(rows="VALUES " + ", ".join([row] * rows))


def apply(connection: Connection, batch: Sequence[Entry]) -> list[Verdict]:
    """
    Write a batch and say for each entry what became of it.

    Applying a batch again is harmless: what is there already is found to be there. That is how a commit is resolved of
    which nobody knows whether it took place.
    """
    if not batch:
        connection.exec_driver_sql("SELECT 1")  # asked only to learn whether the database answers
        return []
    if _insert(connection, batch) == len(batch):
        return [Verdict.WRITTEN] * len(batch)
    return _explain(connection, batch)


def _insert(connection: Connection, batch: Sequence[Entry]) -> int:
    """Write what can be written and return how many entries that was."""
    if connection.dialect.name == "postgresql":
        columns: tuple[list[Any], ...] = tuple(list(column) for column in zip(*batch, strict=True))
        return connection.exec_driver_sql(_POSTGRES_INSERT, columns).rowcount
    rows = 1 << (len(batch) - 1).bit_length()  # few sizes, so that SQLite keeps their statements prepared
    padding = (None,) * ((rows - len(batch)) * len(Entry._fields))
    return connection.exec_driver_sql(_sqlite_insert(rows), (*chain.from_iterable(batch), *padding)).rowcount


def _explain(connection: Connection, batch: Sequence[Entry]) -> list[Verdict]:
    """Judge each entry by what stands now, and write those that have a place after all."""
    verdicts: dict[int, Verdict] = {}
    late: dict[int, Entry] = {}
    for _ in range(_ROUNDS):
        standing = _standing(connection, {entry.attempt_id for entry in batch})
        late.clear()
        for index, entry in enumerate(batch):
            judged = judge(entry, standing[entry.attempt_id])
            if isinstance(judged, Verdict):
                verdicts[index] = judged
            else:
                late[index] = judged
        if not late:
            break
        _insert(connection, list(late.values()))
    return [verdicts.get(index, Verdict.CLASHED) for index in range(len(batch))]


def _standing(connection: Connection, attempts: set[str]) -> defaultdict[str, dict[int, Entry]]:
    """Return the entries of some attempts, by attempt and phase."""
    found: defaultdict[str, dict[int, Entry]] = defaultdict(dict)
    query = select(*_OF_ATTEMPTS).where(entries.c.attempt_id.in_(attempts))
    for row in connection.execute(query):
        entry = Entry._make(row)
        found[entry.attempt_id][entry.phase] = entry
    return found
