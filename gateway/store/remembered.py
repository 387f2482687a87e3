"""
Answers by their Idempotency-Key: one row for each key of a tenant.

    begin   a row without an answer, on disk before anything is spent; it belongs to its owner until its lease is over
    finish  the answer in its row, and what is too large for it behind it: what everybody gets from then on
    release no attempt was made, so that nothing has to be remembered

When the owner dies, whoever comes next after the lease takes the row over, but only if the ledger shows that no attempt
of the request can have been billed. An owner that is late instead of dead makes no call after its deadline, and the
lease outlasts that; so one key never leads to two billed requests. Replicas' clocks have to agree within what the lease
outlasts the deadline by.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, NamedTuple, TypeVar

import orjson
from sqlalchemy import ColumnElement, Connection, Insert, Row, Select, delete, exists, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from gateway.store.database import Database, LedgerUnavailable, Work
from gateway.store.entry import Kind
from gateway.store.tables import entries, remembered_answers, remembered_parts

T = TypeVar("T")

#: Bytes of a body that one transaction writes or reads. Why in parts: a larger row keeps the ledger's only writer in
#: SQLite, or the event loop beside PostgreSQL, busy for tens of milliseconds, and reservations wait meanwhile.
PART_BYTES = 4 * 2**20

_MICROS = 1_000_000
#: How far the clock may have been set back while a request was worked on.
_STEP = 30 * _MICROS
_LAST_ENDING = 2
_ROW = remembered_answers.c
_PART = remembered_parts.c


class Turn(Enum):
    """How a key stands for somebody who has no answer by it yet."""

    BEGUN = "begun"
    """It is theirs: nobody else works under this key."""
    RUNNING = "running"
    """Another request is worked on under it; or was, a moment ago."""
    DIFFERENT = "different"
    """It stands for another request."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A request that wants its turn under a key."""

    tenant: str
    key: str
    fingerprint: str
    request_id: str
    """The ledger's name for the request."""
    owner: str
    """Unique to this claim."""


@dataclass(frozen=True, slots=True)
class RememberedAnswer:
    """What was answered under a key."""

    request_id: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    """To the byte; None where it is not there as a whole: it has just expired, or an earlier release left it out."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The first request ended without an answer, and may have been billed: the key is used up until it expires."""

    request_id: str
    settled: int
    """Attempts that are charged."""
    unknown: int
    """Attempts that are on hold or not ended: they may yet be charged, or released."""


Standing = Turn | RememberedAnswer | Interrupted


class _Kept(NamedTuple):
    """The row of an answer."""

    request_id: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    """Its beginning: where it is as long as a part, the parts follow."""
    owner: str


class Remembered:
    """The answers in a database."""

    def __init__(self, database: Database, wall: Callable[[], float], *, ttl_seconds: float) -> None:
        """
        Use a database.

        Args:
            database: its calls end in bounded time.
            wall: seconds since 1970, UTC.
            ttl_seconds: how long an answer is kept; then its key is free again.
        """
        self._database = database
        self._wall = wall
        self._ttl = round(ttl_seconds * _MICROS)

    async def begin(self, claim: Claim, *, lease_seconds: float) -> Standing:
        """
        Take the turn, or say how the key stands.

        Args:
            claim: who asks, and what.
            lease_seconds: how long the request is worked on at most.

        Raises:
            LedgerUnavailable: nobody knows; nothing may be spent.
        """
        lease = round(lease_seconds * _MICROS)
        found = await self._write(lambda connection: _begin(connection, claim, self._now(), lease, self._ttl))
        if isinstance(found, _Kept):
            return RememberedAnswer(found.request_id, found.status, found.headers, await self._whole(claim, found))
        return found

    async def running(self, claim: Claim) -> bool:
        """
        Whether somebody works under the key now.

        Raises:
            LedgerUnavailable: nobody knows.
        """
        query = select(_ROW.owner).where(_named(claim), _ROW.status.is_(None), _ROW.lease_until > self._now())
        return await self._database.read(lambda connection: connection.execute(query).first() is not None)

    async def finish(self, claim: Claim, answer: RememberedAnswer) -> bool:
        """
        Keep the answer; False where the key went to somebody else meanwhile. To do it twice is harmless.

        What goes beyond its row is written first, so that whoever finds the row ended finds all of it.

        Raises:
            LedgerUnavailable: it is not kept, or nobody knows.
        """
        body = answer.body or b""
        for number, start in enumerate(range(PART_BYTES, len(body) + 1, PART_BYTES), start=1):
            part = body[start : start + PART_BYTES]
            await self._write(partial(_put_part, claim=claim, number=number, part=part))
        keep = (
            update(remembered_answers)
            .where(_named(claim), _ROW.owner == claim.owner)
            .values(
                status=answer.status,
                headers=orjson.dumps(answer.headers).decode(),
                body=body[:PART_BYTES],
                expires_at=self._now() + self._ttl,
            )
        )
        return await self._write(lambda connection: connection.execute(keep).rowcount == 1)

    async def _whole(self, claim: Claim, kept: _Kept) -> bytes | None:
        """Read what there is of a body beyond its row: parts up to one that is not full."""
        parts = [kept.body or b""]
        while len(parts[-1]) == PART_BYTES:
            name = (claim.tenant, claim.key, kept.owner, len(parts))
            query = select(_PART.body).where(
                tuple_(_PART.tenant, _PART.idempotency_key, _PART.owner, _PART.number) == name
            )
            part = await self._database.read(partial(_part, query=query))
            if part is None:
                return None
            parts.append(part)
        return kept.body if len(parts) == 1 else b"".join(parts)

    async def release(self, claim: Claim, *, though_released: bool = False) -> bool:
        """
        Free the key, unless the ledger has an attempt of the request: then its answer has to be kept.

        Args:
            claim: the turn that ends.
            though_released: whether attempts do not count that were released, and so cost nothing.

        Returns:
            Whether there was no attempt that counts.

        Raises:
            LedgerUnavailable: nobody knows.
        """
        return await self._write(partial(_release, claim=claim, though_released=though_released))

    async def prune(self, most: int = 50) -> int:
        """
        Remove that many expired answers at most, and return how many there were.

        Raises:
            LedgerUnavailable: none, or nobody knows.
        """
        name = (_ROW.tenant, _ROW.idempotency_key)
        expired = (
            select(*name)
            .where(_ROW.expires_at <= self._now())
            .order_by(_ROW.expires_at)
            .limit(most)
            .with_for_update(skip_locked=True)
        )
        remove = delete(remembered_answers).where(tuple_(*name).in_(expired))
        removed = await self._database.write(lambda connection: connection.execute(remove).rowcount)
        names = ("tenant", "idempotency_key", "owner")
        left = delete(remembered_parts).where(~exists().where(*(_ROW[name] == _PART[name] for name in names)))
        await self._database.write(lambda connection: connection.execute(left))
        return removed

    async def _write(self, work: Work[T]) -> T:
        """
        Write, a second time where the first failed.

        The second try mends a connection that had gone stale, and finds what the first has committed unheard.
        """
        try:
            return await self._database.write(work)
        except LedgerUnavailable:
            return await self._database.write(work)

    def _now(self) -> int:
        return round(self._wall() * _MICROS)


def _begin(connection: Connection, claim: Claim, now: int, lease: int, ttl: int) -> Turn | Interrupted | _Kept:
    """Take the row where it is free; else say what it holds."""
    fresh = {
        "fingerprint": claim.fingerprint,
        "request_id": claim.request_id,
        "owner": claim.owner,
        "started_at": now,
        "lease_until": now + lease,
        "expires_at": now + max(lease, ttl),
        "status": None,
        "headers": None,
        "body": None,
    }
    if connection.execute(_insert(connection, claim, fresh, now)).first() is not None:
        return Turn.BEGUN
    row = connection.execute(_locked(claim)).one_or_none()
    if row is None:  # it was released between the two statements
        return Turn.RUNNING
    if row.owner == claim.owner:  # the first try was committed, and nobody heard of it
        return Turn.BEGUN
    if row.fingerprint != claim.fingerprint:
        return Turn.DIFFERENT
    if row.status is not None:
        return _Kept(row.request_id, row.status, _headers(row.headers), row.body, row.owner)
    if row.lease_until > now:
        return Turn.RUNNING
    ends = _endings(connection, claim.tenant, row)
    if ends.total() > ends[Kind.RELEASE]:
        settled = ends[Kind.SETTLE]
        return Interrupted(row.request_id, settled, ends.total() - ends[Kind.RELEASE] - settled)
    connection.execute(update(remembered_answers).where(_named(claim)).values(fresh))
    return Turn.BEGUN


def _put_part(connection: Connection, claim: Claim, number: int, part: bytes) -> None:
    """Write one part, which may be there already."""
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    row = {"tenant": claim.tenant, "idempotency_key": claim.key, "owner": claim.owner, "number": number, "body": part}
    connection.execute(make(remembered_parts).values(row).on_conflict_do_nothing())


def _part(connection: Connection, query: Select[Any]) -> bytes | None:
    found: bytes | None = connection.scalar(query)
    return found


def _insert(connection: Connection, claim: Claim, fresh: dict[str, object], now: int) -> Insert:
    """Return the statement that takes a row which is not there, or has expired; it returns a row where it did."""
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return (
        make(remembered_answers)
        .values(tenant=claim.tenant, idempotency_key=claim.key, **fresh)
        .on_conflict_do_update(index_elements=["tenant", "idempotency_key"], set_=fresh, where=_ROW.expires_at <= now)
        .returning(_ROW.owner)
    )


def _release(connection: Connection, claim: Claim, *, though_released: bool) -> bool:
    """Remove the claim's row unless an attempt was made; where *though_released*, one that may cost something."""
    row = connection.execute(_locked(claim)).one_or_none()
    if row is None or row.owner != claim.owner:  # removed by a first try that nobody heard of
        return True
    ends = _endings(connection, claim.tenant, row)
    if ends.total() > (ends[Kind.RELEASE] if though_released else 0):
        return False
    connection.execute(delete(remembered_answers).where(_named(claim)))
    return True


def _endings(connection: Connection, tenant: str, row: Row[tuple[object, ...]]) -> Counter[str]:
    """Count the attempts of a row's request by the last that the ledger has of each: its ending, or `reserve`."""
    opened = select(entries.c.attempt_id).where(
        entries.c.phase == 0,
        entries.c.tenant == tenant,
        entries.c.at.between(row.started_at - _STEP, row.lease_until + _STEP),
        entries.c.request_id == row.request_id,
    )
    query = (
        select(entries.c.attempt_id, entries.c.kind)
        .where(entries.c.attempt_id.in_(opened), entries.c.phase <= _LAST_ENDING)
        .order_by(entries.c.phase)
    )
    last = {row.attempt_id: row.kind for row in connection.execute(query)}  # of each, the latest phase remains
    return Counter(last.values())


def _named(claim: Claim) -> ColumnElement[bool]:
    return (_ROW.tenant == claim.tenant) & (_ROW.idempotency_key == claim.key)


def _locked(claim: Claim) -> Select[tuple[object, ...]]:
    """Return the query for the key's row that keeps others from changing it meanwhile."""
    return select(remembered_answers).where(_named(claim)).with_for_update()


def _headers(text: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in orjson.loads(text))
