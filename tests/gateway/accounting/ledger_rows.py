"""A ledger written by hand, row by row: what the gateway's own writer makes of attempts, without that writer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, insert

from gateway.store.chain import STORED, Head, begin, chained
from gateway.store.entry import Entry, Kind, ending, moves
from gateway.store.tables import entries, usage_lines
from gateway.store.usage_lines import added_up, line_name

DAY = 86_400_000_000
#: 2026-03-01, in days since 1970.
FIRST_DAY = 20_513


def opening(
    attempt_id: str,
    *,
    at: int = FIRST_DAY * DAY,
    amount: int = 5000,
    tenant: str = "acme",
    key_id: str = "k1",
    deployment: str = "eu",
    tags: str = "{}",
    request_id: str = "seg_1",
) -> Entry:
    """Return the entry that opens an attempt."""
    moved = moves(Kind.RESERVE, phase=0, set_aside=0, amount=amount, cost=0)
    return Entry(
        attempt_id,
        0,
        Kind.RESERVE.value,
        amount,
        0,
        None,
        None,
        None,
        at,
        *moved,
        request_id=request_id,
        prompt_index=0,
        tenant=tenant,
        key_id=key_id,
        deployment=deployment,
        provider="runflow",
        model="sam-3",
        region="eu",
        price_id="p1",
        expires_at=at + 60_000_000,
        tags=tags,
    )


def imported(attempt_id: str, *, at: int = FIRST_DAY * DAY) -> Entry:
    """Return a call that only the provider's statement knows: it cost the operator 700 micro-dollars."""
    opened = opening(attempt_id, tenant="zoo", amount=0, at=at)
    return opened._replace(
        kind=Kind.IMPORT.value, cost_microusd=700, reason="statement", payable_microusd=700, margin_microusd=-700
    )


def ended(opened: Entry, kind: Kind, *, amount: int = 0, cost: int = 0, phase: int = 1, after: int = 1) -> Entry:
    """Return the entry that ends an attempt, some microseconds after it was opened."""
    correcting = kind is Kind.CORRECT
    return ending(
        opened.attempt_id,
        kind,
        set_aside=0 if correcting else opened.amount_microusd,
        at=opened.at + after,
        amount=amount,
        cost=cost,
        reason=None if kind is Kind.SETTLE else "why",
        phase=phase,
    )


@dataclass
class Writer:
    """One gateway's hand: it writes entries, their chain, and what they add up to."""

    name: str
    written: list[tuple[Entry, Entry]] = field(default_factory=list)
    head: Head | None = None

    def write(self, connection: Connection, opened: Entry, *endings: Entry, opens: bool = True) -> None:
        """Write the entries of one attempt; `opens` where this writer has opened it."""
        batch: Sequence[Entry] = (opened, *endings) if opens else endings
        rows, self.head = chained(self.head or begin(self.name), batch)
        connection.execute(insert(entries), [dict(zip(STORED, row, strict=True)) for row in rows])
        self.written += [(entry, opened) for entry in batch]

    def add_up(self, connection: Connection) -> None:
        """Write what all of it adds up to."""
        sums = added_up(self.written)
        rows = [
            {"writer": self.name, "line": line_name(line), **line._asdict(), **figures._asdict()}
            for line, figures in sums.items()
        ]
        connection.execute(insert(usage_lines), rows)


def unlocked(connection: Connection, *, checks: Iterable[str] = ()) -> None:
    """Take from the database what keeps `entries` as they are, as somebody with the file in hand can."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("DROP TRIGGER entries_refuse_update")
        connection.exec_driver_sql("DROP TRIGGER entries_refuse_delete")
        connection.exec_driver_sql("PRAGMA ignore_check_constraints=ON")
        return
    connection.exec_driver_sql("DROP TRIGGER entries_refuse_change ON entries")
    for name in checks:
        table = "budget_windows" if name.startswith("budget_windows_") else "entries"
        connection.exec_driver_sql(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
