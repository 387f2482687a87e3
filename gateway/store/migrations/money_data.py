"""What revision 0002 makes of the rows that stood in the tables of 0001."""

from __future__ import annotations

from typing import Any

import blake3
import orjson
from sqlalchemy import Connection, Row, column, insert, table, text

from gateway.store.chain import CHAINED, genesis, link

#: The writer of what was carried over: its chain begins and ends with the migration.
WRITER = "w_migration"
#: Rows that are carried at once: few enough for memory, enough to make a statement worth its while.
PAGE = 2000

_CARRIED = (
    "id", "attempt_id", "phase", "kind", "amount_microusd", "cost_microusd", "reported_microusd", "upstream_ref",
    "reason", "at", "request_id", "prompt_index", "tenant", "key_id", "deployment", "provider", "model", "region",
    "price_id", "expires_at", "tags",
)  # fmt: skip
_MOVES = ("available_microusd", "reserved_microusd", "held_microusd", "payable_microusd", "margin_microusd")
_CHAIN = ("writer", "sequence", "chain")

#: Why no join: a database without statistics reads the whole table for it, once for each page.
_PAGE_OF_ENTRIES = text(
    f"SELECT {', '.join(_CARRIED)}, (SELECT opened.amount_microusd FROM entries_before AS opened"  # noqa: S608 - made of column names alone
    " WHERE opened.attempt_id = entry.attempt_id AND opened.phase = 0) AS opened_microusd"
    f" FROM entries_before AS entry WHERE id > :last ORDER BY id LIMIT {PAGE}"
)

_WRITTEN = (*_CARRIED, *_MOVES, *_CHAIN)
_WHOLE = {"id", "phase", "prompt_index", "at", "expires_at", "sequence"}
_ARRAYS = ", ".join(
    f"${place}::{'bigint' if name in _WHOLE or name.endswith('_microusd') else 'text'}[]"
    for place, name in enumerate(_WRITTEN, 1)
)
_INSERT = {
    "sqlite": f"INSERT INTO entries ({', '.join(_WRITTEN)}) VALUES ({', '.join('?' * len(_WRITTEN))})",  # noqa: S608 - made of column names alone
    "postgresql": f"INSERT INTO entries ({', '.join(_WRITTEN)}) SELECT * FROM unnest({_ARRAYS})",  # noqa: S608 - as above
}

_DAY = 86_400_000_000
_LINE = ("day", "tenant", "key_id", "deployment", "provider", "model", "region", "tags")
_FIGURES = (
    "attempts", "settled", "released", "held", "open", "charged_microusd", "cost_microusd", "held_microusd",
    "open_microusd",
)  # fmt: skip

#: Each attempt is added up by its last entry.
_USAGE = f"""
SELECT at / {_DAY}, tenant, key_id, deployment, provider, model, region, tags, count(*),
    sum(CASE kind WHEN 'settle' THEN 1 ELSE 0 END), sum(CASE kind WHEN 'release' THEN 1 ELSE 0 END),
    sum(CASE kind WHEN 'hold' THEN 1 ELSE 0 END), sum(CASE kind WHEN 'reserve' THEN 1 ELSE 0 END),
    sum(CASE kind WHEN 'settle' THEN amount ELSE 0 END), sum(CASE kind WHEN 'settle' THEN cost ELSE 0 END),
    sum(CASE kind WHEN 'hold' THEN amount ELSE 0 END), sum(CASE kind WHEN 'reserve' THEN amount ELSE 0 END)
FROM (SELECT opened.at, opened.tenant, opened.key_id, opened.deployment, opened.provider, opened.model, opened.region,
        opened.tags, last.kind, last.amount_microusd AS amount, last.cost_microusd AS cost
    FROM entries_before AS opened JOIN entries_before AS last ON last.attempt_id = opened.attempt_id
    WHERE opened.phase = 0 AND NOT EXISTS (SELECT 1 FROM entries_before AS later
        WHERE later.attempt_id = last.attempt_id AND later.phase > last.phase)) AS attempts
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 ORDER BY 1, 2, 3, 4, 5, 6, 7, 8
"""  # noqa: S608 - made of a number alone

#: The readable beginning of an old key is known to nobody; the first key alone could do everything.
_KEYS = """
INSERT INTO api_keys (id, tenant, name, prefix, sha256, scopes, created_at, revoked_at)
SELECT id, tenant, '', 'mg_…', sha256, CASE id WHEN 'key_first' THEN 'segment usage admin' ELSE 'segment usage' END,
    created_at, revoked_at FROM api_keys_before
"""


def carry_entries(connection: Connection) -> None:
    """
    Carry every entry over under its number, as a double entry, in one chain in the order of the numbers.

    Raises:
        ValueError: an ending has no reservation, so that nobody can say what it gave back.
    """
    last, sequence, head = 0, 0, genesis(WRITER)
    while page := connection.execute(_PAGE_OF_ENTRIES, {"last": last}).all():
        rows = []
        for found in page:
            sequence += 1
            row = _balanced(found) | {"writer": WRITER, "sequence": sequence}
            head = link(head, [row[name] for name in CHAINED])
            rows.append(tuple((row | {"chain": head}).values()))
        _write(connection, rows)
        last = page[-1].id


def _write(connection: Connection, rows: list[tuple[Any, ...]]) -> None:
    """Write entries in the fastest way that the database has: PostgreSQL's is one statement with an array a column."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(_INSERT["postgresql"], tuple(list(values) for values in zip(*rows, strict=True)))
    else:
        connection.exec_driver_sql(_INSERT["sqlite"], rows)


def _balanced(found: Row[Any]) -> dict[str, Any]:
    """Return an entry with what it moves between the accounts."""
    entry = found._asdict()
    opened = entry.pop("opened_microusd")
    if opened is None:
        raise ValueError(f"attempt {found.attempt_id} has a {found.kind} and no reserve: restore the ledger's backup")
    moved = moves(found.kind, found.phase, found.amount_microusd, found.cost_microusd, opened)
    return entry | dict(zip(_MOVES, moved, strict=True))


def moves(kind: str, phase: int, amount: int, cost: int, opened: int) -> tuple[int, int, int, int, int]:
    """
    Return what an entry adds to available, reserved, held, payable and margin: micro-dollars, nothing in all.

    Args:
        kind: what the entry does.
        phase: 2 where the attempt's money was on hold before.
        amount: micro-dollars of the entry.
        cost: micro-dollars, owed to the provider.
        opened: micro-dollars that were reserved for the attempt.
    """
    if kind == "reserve":
        return -amount, amount, 0, 0, 0
    if kind == "hold":
        return 0, -amount, amount, 0, 0
    payable, margin = (cost, amount - cost) if kind == "settle" else (0, 0)
    reserved, held = (-opened, 0) if phase == 1 else (0, -opened)
    return opened - amount, reserved, held, payable, margin


def sum_usage(connection: Connection) -> None:
    """Add the old entries up by day, tenant, key, deployment and tags."""
    into = insert(table("usage_lines", *map(column, ("writer", "line", *_LINE, *_FIGURES))))
    rows = []
    for found in connection.exec_driver_sql(_USAGE):
        divided = tuple(found[: len(_LINE)])
        figures = (int(figure) for figure in found[len(_LINE) :])
        line = blake3.blake3(orjson.dumps(divided)).hexdigest(length=16)
        rows.append(
            {"writer": WRITER, "line": line}
            | dict(zip(_LINE, divided, strict=True))
            | dict(zip(_FIGURES, figures, strict=True))
        )
    if rows:
        connection.execute(into, rows)


def carry_keys(connection: Connection) -> None:
    """Carry the keys over, with the scopes that every key had until now."""
    connection.exec_driver_sql(_KEYS)
