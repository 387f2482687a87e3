"""The entry that opens an attempt, for tests that need one of no particular attempt."""

from __future__ import annotations

from gateway.store import Entry, Kind, moves


def opening(
    attempt_id: str = "att_1",
    kind: Kind = Kind.RESERVE,
    *,
    amount: int = 5000,
    cost: int = 0,
    at: int = 1,
    tags: str = "{}",
) -> Entry:
    """Return it; amounts are micro-dollars, moments microseconds."""
    moved = moves(kind, phase=0, set_aside=0, amount=amount, cost=cost)
    return Entry(attempt_id, 0, kind.value, amount, cost, None, None, None, at, *moved)._replace(
        request_id="seg",
        prompt_index=0,
        tenant="acme",
        key_id="key",
        deployment="eu",
        provider="runflow",
        model="sam-3",
        region="eu",
        price_id="eu@2026-01-01",
        expires_at=2,
        tags=tags,
    )
