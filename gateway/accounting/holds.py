"""Finding the attempts on hold, newest first, a page at a time."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, exists, select

from gateway.store import Kind, entries


class HeldAttempt(NamedTuple):
    """An attempt of which nobody knows whether the provider has charged for it."""

    hold: int
    """Where its hold stands in the ledger: the later, the larger."""
    attempt_id: str
    deployment: str
    provider: str
    model: str
    amount_microusd: int
    """Set aside for it: the most that can be charged."""
    held_at: int
    """When it was put on hold, in microseconds since 1970, UTC."""
    upstream_ref: str | None
    """The provider's name for the call, where it is known."""
    tenant: str
    """Who pays for it."""
    price_id: str
    """The terms at the time of the reservation; see `agreed_terms`."""
    upstream_account: str | None = None
    """The endpoint and the account that it was made with; None where that was not kept yet."""


def held_attempts(connection: Connection, *, most: int, before: int | None = None) -> list[HeldAttempt]:
    """
    Return the newest attempts on hold.

    Args:
        connection: in a transaction that reads.
        most: how many.
        before: those alone whose hold is older than this one.
    """
    opened, held, resolved = (entries.alias(name) for name in ("opened", "held", "resolved"))
    is_resolved = exists().where((resolved.c.attempt_id == held.c.attempt_id) & (resolved.c.phase == 2))
    query = (
        select(
            held.c.id,
            held.c.attempt_id,
            opened.c.deployment,
            opened.c.provider,
            opened.c.model,
            held.c.amount_microusd,
            held.c.at,
            held.c.upstream_ref,
            opened.c.tenant,
            opened.c.price_id,
            opened.c.upstream_account,
        )
        .select_from(held.join(opened, (opened.c.attempt_id == held.c.attempt_id) & (opened.c.phase == 0)))
        .where(held.c.phase == 1, held.c.kind == Kind.HOLD.value, ~is_resolved)
        .order_by(held.c.id.desc())
        .limit(most)
    )
    if before is not None:
        query = query.where(held.c.id < before)
    return [HeldAttempt._make(row) for row in connection.execute(query)]
