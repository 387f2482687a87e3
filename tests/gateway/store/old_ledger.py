"""A ledger as the first release left it, made from that release's own statements, and what a schema consists of."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, make_url, text

from gateway.store.opening import _make, _named

FIRST_RELEASE = Path(__file__).with_name("first_release")
DAY = 86_400_000_000
NOON = 20_000 * DAY + DAY // 2
_ENDINGS = (
    (),
    (("settle", 1),),
    (("release", 0),),
    (("hold", 1),),
    (("hold", 1), ("settle", 0.5)),
    (("hold", 1), ("release", 0)),
    (("settle", 0.75),),
)
_COLUMNS = (
    "id", "attempt_id", "phase", "kind", "amount_microusd", "cost_microusd", "reported_microusd", "upstream_ref",
    "reason", "at", "request_id", "prompt_index", "tenant", "key_id", "deployment", "provider", "model", "region",
    "price_id", "expires_at", "tags",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class OldKey:
    """A key of the first release."""

    id: str
    sha256: str
    revoked_at: int | None


KEYS = (OldKey("key_first", "aa", None), OldKey("key_2", "bb", NOON))


def old_entries(attempts: int, *, seed: int) -> list[dict[str, Any]]:
    """Return the entries of that many attempts that ended in every way there is, mixed, with gaps in their numbers."""
    rng = random.Random(seed)
    found: list[tuple[float, dict[str, Any]]] = []
    for number in range(attempts):
        attempt_id = f"att_{number:06d}"
        opened = rng.choice((0, 1, 5000, 120_000))
        moment = rng.random()
        at = NOON + rng.randrange(3) * DAY + number
        identity = {
            "request_id": f"seg_{number // 2}",
            "prompt_index": number % 2,
            "tenant": rng.choice(("acme", "bolt")),
            "key_id": rng.choice(("key_first", "key_2")),
            "deployment": "runflow-eu",
            "provider": "runflow",
            "model": "meta/sam-3/image",
            "region": "eu",
            "price_id": "runflow-eu@2026-01-01",
            "expires_at": at + DAY,
            "tags": rng.choice(("{}", '{"team":"käse"}')),
        }
        found.append((moment, _entry(attempt_id, 0, "reserve", opened, 0, at) | identity))
        for phase, (kind, share) in enumerate(_ENDINGS[number % len(_ENDINGS)], 1):
            moment += rng.random()
            amount = int(opened * share)
            cost = amount + rng.randrange(3) if kind == "settle" else amount
            found.append((moment, _entry(attempt_id, phase, kind, amount, cost, at + phase * DAY)))
    rows = [row for _, row in sorted(found, key=lambda entry: entry[0])]
    number = 0
    for row in rows:
        number += rng.randrange(1, 3)
        row["id"] = number
    return rows


def _entry(attempt_id: str, phase: int, kind: str, amount: int, cost: int, at: int) -> dict[str, Any]:
    return dict.fromkeys(_COLUMNS) | {
        "attempt_id": attempt_id,
        "phase": phase,
        "kind": kind,
        "amount_microusd": amount,
        "cost_microusd": cost,
        "reported_microusd": cost if kind == "settle" else None,
        "upstream_ref": "run_1" if kind in {"settle", "hold"} else None,
        "reason": "unanswered" if kind in {"release", "hold"} else None,
        "at": at,
    }


async def make_old_ledger(url: str, rows: Sequence[dict[str, Any]] = (), keys: Sequence[OldKey] = ()) -> None:
    """Make a database as the first release did, with these rows in it."""

    def fill(connection: Connection) -> None:
        for statement in (FIRST_RELEASE / f"{connection.dialect.name}.sql").read_text().split("\n--\n"):
            connection.exec_driver_sql(statement)
        if rows:
            values = ", ".join(f":{name}" for name in _COLUMNS)
            connection.execute(text(f"INSERT INTO entries ({', '.join(_COLUMNS)}) VALUES ({values})"), list(rows))
        for key in keys:
            connection.execute(
                text("INSERT INTO api_keys VALUES (:id, 'acme', :sha256, :at, :revoked_at)"),
                {"id": key.id, "sha256": key.sha256, "at": NOON, "revoked_at": key.revoked_at},
            )

    await in_database(url, fill)


async def in_database(url: str, work: Any) -> Any:
    """Do work in one transaction of a database as it is: nothing is made or upgraded."""
    parsed = make_url(url)
    if parsed.drivername == "sqlite":
        _make(Path(str(parsed.database)))
    database = _named(parsed, connect_seconds=10)
    try:
        return await database.write(work)
    finally:
        await database.close()


_COLUMNS_OF_ALL = "table_name, ordinal_position, column_name, data_type, is_nullable, column_default"
_CONSTRAINTS = "conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
_POSTGRES_SCHEMA = (
    f"SELECT {_COLUMNS_OF_ALL} FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2",
    f"SELECT {_CONSTRAINTS} WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2",
    "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1",
    "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1",
    "SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1",
    "SELECT sequencename, data_type::text FROM pg_sequences WHERE schemaname = 'public' ORDER BY 1",
)
_SQLITE_SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"


def read_schema(connection: Connection) -> list[tuple[Any, ...]]:
    """Return all that a schema consists of: tables, columns, constraints, indexes, triggers, functions, sequences."""
    if connection.dialect.name == "postgresql":
        return [tuple(row) for query in _POSTGRES_SCHEMA for row in connection.exec_driver_sql(query)]
    return [
        (*row[:3], " ".join(row[3].split()).replace("( ", "(").replace(" )", ")") if row[3] else None)
        for row in connection.exec_driver_sql(_SQLITE_SCHEMA)
    ]
