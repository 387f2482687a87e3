"""Make keys and change their secrets: from what an administrator asks for to what the store keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection

from gateway.accounting.budgets import set_budget, wanted_budget
from gateway.intake.callers import new_key
from gateway.intake.key_body import HardBudgetBody, KeyBody
from gateway.problems import Conflict, InvalidRequest, NotFound
from gateway.store import Keys, fingerprint
from gateway.store.keys import MICROS, SHOWN_CHARACTERS, ApiKey, Grant


@dataclass(frozen=True, slots=True)
class Issued:
    """A key with its secret, which is shown once and is nowhere afterwards."""

    key: ApiKey
    secret: str


async def issue_key(body: KeyBody, keys: Keys, new_id: Callable[[str], str]) -> Issued:
    """
    Make a key, and its hard budget with it.

    Args:
        body: what is asked for.
        keys: the store.
        new_id: makes an id from a prefix.

    Raises:
        InvalidRequest: naming the field at fault; there is no key then.
        LedgerUnavailable: there is no key, or nobody knows.
    """
    key_id, secret = new_id("key"), new_key()
    also = None
    if body.hard_budget is not None:
        also = _with_budget(body.tenant, key_id, body.hard_budget, now=keys.now(), new_id=new_id)
    key = await keys.add_key(
        key_id,
        tenant=body.tenant,
        sha256=fingerprint(secret),
        prefix=secret[:SHOWN_CHARACTERS],
        name=body.name,
        grant=Grant(frozenset(body.scopes), body.limit, _expires_at(body, keys.now())),
        also=also,
    )
    return Issued(key, secret)


async def rotate_key(key_id: str, keys: Keys, new_id: Callable[[str], str], *, grace_seconds: float) -> Issued:
    """
    Give a key another secret; the earlier one stays good for the grace.

    Raises:
        NotFound: there is no such key.
        Conflict: it is good for nothing any more, or stands for another.
        LedgerUnavailable: it is not rotated, or nobody knows.
    """
    secret = new_key()
    key = await keys.rotate_key(
        key_id,
        sha256=fingerprint(secret),
        prefix=secret[:SHOWN_CHARACTERS],
        earlier_id=new_id("key"),
        grace_seconds=grace_seconds,
    )
    if key is not None:
        return Issued(key, secret)
    there = await found_key(key_id, keys)
    if there.replaces is not None:
        raise Conflict(f"{key_id} is an earlier secret of {there.replaces}: rotate that one")
    raise Conflict(f"{key_id} is revoked or has expired: make another key")


async def revoke_key(key_id: str, keys: Keys) -> ApiKey:
    """
    Make a key good for nothing, and return it; what is revoked already stays so.

    Raises:
        NotFound: there is no such key.
        LedgerUnavailable: it is not revoked, or nobody knows.
    """
    await keys.revoke_key(key_id)
    return await found_key(key_id, keys)


async def found_key(key_id: str, keys: Keys) -> ApiKey:
    """
    Return a key.

    Raises:
        NotFound: there is none of that id.
    """
    key = await keys.key(key_id)
    if key is None:
        raise NotFound(f"there is no key {key_id[:100]!r}; `maskgate keys list` and GET /admin/v1/keys have the ids")
    return key


def _with_budget(
    tenant: str, key_id: str, body: HardBudgetBody, *, now: int, new_id: Callable[[str], str]
) -> Callable[[Connection], object]:
    """Return what makes the key's budget in the transaction that makes the key."""
    try:
        wanted = wanted_budget(tenant=tenant, key_id=key_id, period=body.window, limit_usd=body.usd, hard=True)
    except InvalidRequest as problem:
        names = {"limit_usd": "usd", "period": "window"}
        field = names.get(problem.field or "", problem.field)
        raise InvalidRequest(problem.message, field=f"hard_budget.{field}") from problem
    return partial(set_budget, wanted=wanted, now=now, new_id=new_id)


def _expires_at(body: KeyBody, now: int) -> int | None:
    """Return when the key ends, in microseconds since 1970, UTC."""
    if body.expires_in_seconds is not None:
        return now + max(1, round(body.expires_in_seconds * MICROS))
    if body.expires_at is None:
        return None
    ends = int(body.expires_at.timestamp()) * MICROS + body.expires_at.microsecond
    if ends <= now:
        raise InvalidRequest(f"{body.expires_at.isoformat()} is past; name a moment to come", field="expires_at")
    return ends
