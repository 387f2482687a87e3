"""
Whether the ledger is what was written, and adds up.

The database keeps most of these laws itself; what is looked for here is what happens behind its back: a file that was
edited, a restored half, a defect of ours. Four looks, over one snapshot, in memory that does not grow with the entries:

    rows      every CHECK of `entries` and `budget_windows` holds, whatever the table in the file says
    chain     each writer's entries are numbered without a gap, and each one's hash follows from the one before
    attempts  each is opened once, ends once, and leaves nothing reserved or held behind
    sums      `usage_lines` and `budget_windows` are what the entries add up to, and no hard budget was passed

A chain that lost its end is still whole. Therefore the heads are told, and heads that were noted elsewhere are looked
for again (`noted`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlalchemy import CheckConstraint, Column, Connection, Table, case, func, or_, select, text, tuple_

from gateway.accounting.verification import MOST_BREAKS, Break, Verification
from gateway.accounting.verifying_attempts import broken_attempts
from gateway.accounting.verifying_sums import broken_sums
from gateway.store.chain import CHAINED, STORED, Head, begin, link
from gateway.store.tables import budget_windows, entries

PAGE = 5000


def verify(connection: Connection, *, tell: Callable[[str], None], noted: Sequence[Head] = ()) -> Verification:
    """
    Look at everything.

    Args:
        connection: in a transaction that reads one snapshot.
        tell: is told now and again how far the look has come.
        noted: heads that were told earlier; each has to stand where it stood.
    """
    seen = Verification()
    tell("rows")
    seen.note(_broken_rows(connection, entries, (entries.c.writer, entries.c.sequence, entries.c.attempt_id)))
    seen.note(_broken_rows(connection, budget_windows, (budget_windows.c.budget_id, budget_windows.c.starts_at)))
    seen.note(_walk(connection, seen, tell=tell, noted=noted))
    tell("attempts")
    seen.attempts = connection.scalar(select(func.count()).where(entries.c.phase == 0)) or 0
    seen.note(broken_attempts(connection))
    seen.note(broken_sums(connection, seen, tell=tell))
    return seen


def _broken_rows(connection: Connection, table: Table, names: tuple[Column[Any], ...]) -> Iterator[Break]:
    """Find rows that break a CHECK, the first one of each."""
    checks = {str(check.name): str(check.sqltext) for check in table.constraints if isinstance(check, CheckConstraint)}
    broken = [(text(f"NOT ({rule})"), law) for law, rule in sorted(checks.items())]
    statement = select(case(*broken), *names).where(or_(*(condition for condition, _ in broken)))
    for law, *values in connection.execute(statement.limit(MOST_BREAKS + 1)).all():
        if table is entries:
            writer, sequence, attempt_id = values
            yield Break(law, checks[law], "a row that breaks it", writer, sequence, attempt_id)
        else:
            yield Break(law, checks[law], "a row that breaks it", place=f"budget {values[0]} from {values[1]}")


def _walk(
    connection: Connection, seen: Verification, *, tell: Callable[[str], None], noted: Sequence[Head]
) -> Iterator[Break]:
    """Follow every writer's chain from its beginning to its head."""
    wanted = {(head.writer, head.sequence): head.chain for head in noted}
    head: Head | None = None
    for row in _pages(connection):
        if seen.entries % 100_000 == 0:
            tell(f"chain: {seen.entries} entries")
        seen.entries += 1
        if head is None or head.writer != row.writer:
            if head is not None:
                seen.heads.append(head)
            head = begin(row.writer)
        yield from _follow(head, row)
        before = wanted.pop((row.writer, row.sequence), None)
        if before is not None and before != row.chain:
            yield Break("noted_head", before, row.chain, row.writer, row.sequence, row.attempt_id)
        head = Head(row.writer, row.sequence, row.chain)
    if head is not None:
        seen.heads.append(head)
    for (writer, sequence), chain in wanted.items():
        yield Break("noted_head", chain, "no such entry", writer, sequence)


def _follow(head: Head, row: Any) -> Iterator[Break]:
    """Say what is wrong between one entry and the next; behind a gap, no hash can be computed."""
    if row.sequence != head.sequence + 1:
        yield Break("sequence", str(head.sequence + 1), str(row.sequence), row.writer, row.sequence, row.attempt_id)
        return
    expected = link(head.chain, row[: len(CHAINED)], row.upstream_account)
    if expected != row.chain:
        yield Break("chain", expected, row.chain, row.writer, row.sequence, row.attempt_id)


def _pages(connection: Connection) -> Iterator[Any]:
    """Return every entry by writer and sequence, read a page at a time."""
    query = select(*(entries.c[name] for name in STORED)).order_by(entries.c.writer, entries.c.sequence).limit(PAGE)
    rows = connection.execute(query).all()
    while rows:
        yield from rows
        last = rows[-1]
        behind = tuple_(entries.c.writer, entries.c.sequence) > tuple_(last.writer, last.sequence)
        rows = connection.execute(query.where(behind)).all()
