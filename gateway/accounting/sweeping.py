"""Finding the reservations that are still open, a page at a time, so that a ledger of any size can be swept."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, exists, select

from gateway.store import Kind, entries

_PAGE = 20_000


class OpenAttempt(NamedTuple):
    """A reservation without an ending."""

    attempt_id: str
    amount_microusd: int
    at: int
    """When it was reserved, in microseconds since 1970, UTC."""
    expires_at: int
    """When it counts as abandoned, in microseconds since 1970, UTC."""


class Page(NamedTuple):
    """A stretch of the ledger's time."""

    open: list[OpenAttempt]
    next_since: int | None
    """Where the next page begins; None after the last one."""


def open_since(connection: Connection, since: int, *, reservations: int = _PAGE) -> Page:
    """
    Return the open ones among the next reservations.

    Args:
        connection: in a transaction that reads.
        since: where the page begins, in microseconds since 1970, UTC.
        reservations: how many to look at, open or not.
    """
    opened = entries.alias("opened")
    ended = entries.alias("ended")
    here = (opened.c.phase == 0) & (opened.c.at >= since)
    beyond = connection.scalar(select(opened.c.at).where(here).order_by(opened.c.at).offset(reservations).limit(1))
    if beyond is not None:
        beyond = max(beyond, since + 1)  # a page always ends after it begins
        here &= opened.c.at < beyond
    has_ended = exists().where((ended.c.attempt_id == opened.c.attempt_id) & (ended.c.phase == 1))
    reserved = opened.c.kind == Kind.RESERVE.value  # what a statement brought has no end and needs none
    query = select(opened.c.attempt_id, opened.c.amount_microusd, opened.c.at, opened.c.expires_at)
    found = connection.execute(query.where(here & reserved & ~has_ended).order_by(opened.c.at))
    return Page([OpenAttempt._make(row) for row in found], beyond)
