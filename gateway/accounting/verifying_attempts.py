"""
Whether every attempt is opened once, ends once, and leaves nothing behind.

The database looks, since it has an index in the order of the attempts; only what is broken comes here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Subquery, and_, case, func, literal, or_, select

from gateway.accounting.verification import MOST_BREAKS, Break
from gateway.store.tables import entries


class _Law(NamedTuple):
    """What holds for every attempt."""

    name: str
    found: ColumnElement[Any]
    expected: ColumnElement[Any]
    broken: ColumnElement[bool]


def broken_attempts(connection: Connection) -> Iterator[Break]:
    """Find attempts that break a law, the first law of each."""
    attempt = _attempts()
    laws = _laws(attempt)
    statement = (
        select(
            attempt.c.attempt_id,
            case(*((law.broken, law.name) for law in laws)),
            case(*((law.broken, law.expected) for law in laws)),
            case(*((law.broken, law.found) for law in laws)),
        )
        .where(or_(*(law.broken for law in laws)))
        .limit(MOST_BREAKS + 1)
    )
    for attempt_id, name, expected, found in connection.execute(statement).all():
        writer, sequence = _last_entry(connection, attempt_id)
        yield Break(name, str(expected), str(found), writer, sequence, attempt_id)


def _attempts() -> Subquery:
    """Return what each attempt's entries add up to."""
    kind, phase, amount = entries.c.kind, entries.c.phase, entries.c.amount_microusd

    def count(condition: ColumnElement[bool]) -> ColumnElement[int]:
        return func.sum(case((condition, 1), else_=0))

    return (
        select(
            entries.c.attempt_id,
            count(phase == 0).label("opened"),
            count(kind == "import").label("imported"),
            count(phase == 1).label("ended"),
            count(and_(phase == 1, kind == "hold")).label("on_hold"),
            count(phase == 2).label("resolved"),
            func.coalesce(func.max(case((phase == 0, amount))), 0).label("amount"),
            func.coalesce(func.max(case((phase.in_((1, 2)), amount))), 0).label("most"),
            func.coalesce(func.min(case((kind == "hold", amount))), 0).label("set_aside"),
            func.sum(entries.c.reserved_microusd).label("reserved"),
            func.sum(entries.c.held_microusd).label("held"),
        )
        .group_by(entries.c.attempt_id)
        .subquery("attempt")
    )


def _laws(attempt: Subquery) -> list[_Law]:
    """Return the laws in the order in which they are looked at: the later ones take the earlier ones for granted."""
    c = attempt.c
    zero, one = literal(0), literal(1)
    reserved = case((c.ended > 0, 0), else_=c.amount)
    held = case((and_(c.on_hold > 0, c.resolved == 0), c.amount), else_=0)
    return [
        _Law("openings", c.opened, one, c.opened != 1),
        _Law("endings", c.ended, one, c.ended > 1),
        _Law("endings_of_an_import", c.ended + c.resolved, zero, and_(c.imported > 0, c.ended + c.resolved > 0)),
        _Law("resolutions", c.resolved, c.on_hold, c.resolved > c.on_hold),
        _Law("micro_dollars_at_most", c.most, c.amount, c.most > c.amount),
        _Law("micro_dollars_set_aside", c.set_aside, c.amount, and_(c.on_hold > 0, c.set_aside != c.amount)),
        _Law("micro_dollars_reserved_at_last", c.reserved, reserved, c.reserved != reserved),
        _Law("micro_dollars_held_at_last", c.held, held, c.held != held),
    ]


def _last_entry(connection: Connection, attempt_id: str) -> tuple[str, int]:
    """Return writer and sequence of an attempt's last entry."""
    query = select(entries.c.writer, entries.c.sequence).where(entries.c.attempt_id == attempt_id)
    writer, sequence = connection.execute(query.order_by(entries.c.phase.desc()).limit(1)).one()
    return writer, sequence
