"""A key in JSON, as an administrator is shown it. Its hash is shown to nobody."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from gateway.accounting.budget_words import moment
from gateway.api.schema import Shape
from gateway.intake.issuing import Issued
from gateway.request import Scope
from gateway.store.keys import ApiKey
from gateway.store.rates import write_rate


class KeyShape(Shape):
    """A key, good or not."""

    object: Literal["key"]
    id: str
    tenant: str
    name: str
    prefix: str = Field(description="the key's first characters")
    scopes: list[Scope]
    status: Literal["good", "expired", "revoked"]
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    replaces: str | None = Field(
        description="the key of which this is an earlier secret, good until its grace ends; null for a key itself"
    )
    requests_per_second: str | None
    burst: int | None
    concurrency: int | None


class IssuedKeyShape(KeyShape):
    """A key that was made, or has another secret."""

    key: str = Field(description="shown this once")


class KeysShape(Shape):
    """A page of keys."""

    object: Literal["list"]
    keys: list[KeyShape]
    next_cursor: str | None = Field(description="leads to the next page; null on the last one")


def key_json(key: ApiKey, now: int) -> dict[str, Any]:
    """
    Return a key as JSON; see `KeyShape`.

    Args:
        key: as it is stored.
        now: microseconds since 1970, UTC.
    """
    rate = key.grant.limit.requests_per_second
    return {
        "object": "key",
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "prefix": key.prefix,
        "scopes": [scope.value for scope in Scope if scope in key.grant.scopes],
        "status": status_of(key, now),
        "created_at": moment(key.created_at),
        "expires_at": _moment(key.grant.expires_at),
        "revoked_at": _moment(key.revoked_at),
        "replaces": key.replaces,
        "requests_per_second": None if rate is None else write_rate(rate),
        "burst": key.grant.limit.burst,
        "concurrency": key.grant.limit.concurrency,
    }


def issued_json(issued: Issued, now: int) -> dict[str, Any]:
    """Return a key with its secret as JSON; see `IssuedKeyShape`."""
    return key_json(issued.key, now) | {"key": issued.secret}


def status_of(key: ApiKey, now: int) -> str:
    """Say whether a key is good, or why it is not."""
    if key.revoked_at is not None:
        return "revoked"
    return "good" if key.good_at(now) else "expired"


def _moment(micros: int | None) -> str | None:
    return None if micros is None else moment(micros)
