"""
Limits that several gateways share through Redis, without asking it for each request.

A process takes tokens in small leases and spends them itself; they lapse after `LEASE_SECONDS`. It also holds as many
places as it has requests, keeps them for `TIDY_SECONDS` in case the next request comes, and writes them anew each
second. What follows:

- In any window of t seconds, all processes together admit at most `burst + rate * (t + LEASE_SECONDS)` requests: each
  token that is spent was taken at most that much earlier, and the taking obeys the limit exactly.
- At most `limit` requests are worked on at a time. A process that is killed keeps its places for `PLACES_SECONDS` (3 s)
  at most; one that stands still for longer loses them although its requests go on.
- Where Redis is gone, slow or read-only, each process admits what its own use leaves of the limit: with n processes at
  most n times the limit. Nobody waits for Redis for more than `ASK_SECONDS` (50 ms), and after three failures in a row
  nobody asks it for 5 s. A Redis that has lost its data gives each bucket's burst once more.
- A reply that is lost is asked for again under the same lease id, so that its tokens are not taken twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

from gateway.admission.account import Account, Share
from gateway.admission.gcra import NANOSECONDS, Rule
from gateway.store.redis_leases import (
    PLACES_SECONDS,
    LeasesUnavailable,
    PlaceWish,
    RedisLeases,
    Reply,
    TokenWish,
)
from providers.contract import Clock, Sleep

#: How long a token may be kept before it is spent.
LEASE_SECONDS = 0.1
#: How often places that nobody uses are given back.
TIDY_SECONDS = 0.1
#: How often places that stay are written anew.
RENEW_SECONDS = 1.0
#: How long "no place is free" is believed.
FULL_SECONDS = 0.02
#: Writes of places at once.
WRITES_AT_ONCE = 8
#: With less time than that Redis is not asked: it could not be blamed for being late.
LEAST_SECONDS = 0.01
#: Leases without a reply that are remembered; the oldest are forgotten, and what they took lapses.
MOST_LOST = 64

LEASE_NS = round(LEASE_SECONDS * NANOSECONDS)
PLACES_NS = round(PLACES_SECONDS * NANOSECONDS)
RENEW_NS = round(RENEW_SECONDS * NANOSECONDS)
FULL_NS = round(FULL_SECONDS * NANOSECONDS)


@dataclass(frozen=True, slots=True)
class Asked:
    """One lease as it was asked for."""

    id: str
    accounts: tuple[Account, ...]
    """One for each wish, in their order."""
    rules: tuple[Rule | None, ...]
    """The accounts' rules at that time."""
    wishes: tuple[TokenWish | PlaceWish, ...]
    sent: int
    """When it was sent first, in nanoseconds."""


class SharedLimits:
    """This process' part of the shared limits."""

    def __init__(
        self, leases: RedisLeases, *, clock: Clock, new_id: Callable[[str], str], sleep: Sleep = asyncio.sleep
    ) -> None:
        """
        Begin with nothing held.

        Args:
            leases: Redis; it is opened and closed with this.
            clock: monotonic seconds.
            new_id: makes an id with that prefix, unlike any other process'.
            sleep: waits that many seconds.
        """
        self._leases = leases
        self._clock = clock
        self._new_id = new_id
        self._sleep = sleep
        self._sequence = count(1)
        self._holding: set[Account] = set()
        self._lost: dict[tuple[str, ...], Asked] = {}
        self._tidying: asyncio.Task[None] | None = None

    @property
    def in_use(self) -> bool:
        """Whether Redis is asked at the moment."""
        return self._leases.in_use

    async def open(self) -> None:
        """Connect, and keep the places that are held written."""
        await self._leases.open()
        self._tidying = asyncio.create_task(self._tidy())

    async def close(self) -> None:
        """Give the places back and end the connections."""
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.wait({self._tidying})
        if self.in_use:
            for account in self._holding:
                assert account.share is not None
                account.share.peak = 0
            await self._write(list(self._holding))
        await self._leases.close()

    async def cover(self, accounts: Sequence[Account], enter: Callable[[], bool]) -> bool:
        """
        Bring what the accounts lack until *enter* returns True; what it raises ends it as well.

        Returns:
            False when Redis did not bring it within its time.
        """
        until = self._clock() + self._leases.ask_seconds
        shares = [account.share for account in accounts if account.share is not None]
        for share in shares:
            share.waiting += 1
        lock = shares[0].lock
        try:
            async with asyncio.timeout(self._leases.ask_seconds):
                await lock.acquire()
        except TimeoutError:
            return False
        else:
            try:
                while not enter():
                    await self._bring(accounts, until)
            except LeasesUnavailable:
                return False
            finally:
                lock.release()
            return True
        finally:
            for share in shares:
                share.waiting -= 1

    async def _bring(self, accounts: Sequence[Account], until: float) -> None:
        """Ask Redis once for what is lacking, under the id of the last time if that brought no reply."""
        now = self._clock()
        if until - now < LEAST_SECONDS:
            raise LeasesUnavailable("too little time is left to ask Redis")
        names = tuple(account.name for account in accounts)
        asked = self._lost.pop(names, None)
        if asked is None or now * NANOSECONDS - asked.sent >= LEASE_NS:
            asked = self._wish(accounts, int(now * NANOSECONDS))
        try:
            reply = await self._leases.take(accounts[0].tenant, asked.id, asked.wishes, seconds=until - now)
        except LeasesUnavailable:
            if len(self._lost) >= MOST_LOST:
                del self._lost[next(iter(self._lost))]
            self._lost[names] = asked
            raise
        self._note(asked, reply)

    def _wish(self, accounts: Sequence[Account], now: int) -> Asked:
        """Put together what the accounts lack."""
        wanted: list[tuple[Account, TokenWish | PlaceWish]] = []
        for account in accounts:
            share, rule = account.share, account.rule
            assert share is not None
            if rule is not None and not share.has_token(now):
                most = share.waiting + share.spare(rule)
                wanted.append((account, TokenWish(account.name, rule.rate, rule.burst, 1, most)))
            if account.places is not None and not share.has_place(account.in_flight, now):
                wanted.append((account, self._places(account, share, most=account.in_flight + share.waiting, least=1)))
        asked, wishes = zip(*wanted, strict=True)
        return Asked(self._new_id("lease"), asked, tuple(account.rule for account in asked), wishes, now)

    def _places(self, account: Account, share: Share, *, most: int, least: int) -> PlaceWish:
        """Wish for places; no reply to an earlier wish counts from now on."""
        share.sequence = next(self._sequence)
        return PlaceWish(account.name, account.places or 0, account.in_flight, least, most, share.sequence)

    def _note(self, asked: Asked, reply: Reply) -> None:
        """Take down what a lease brought."""
        now = int(self._clock() * NANOSECONDS)
        for account, rule, wish, grant in zip(asked.accounts, asked.rules, asked.wishes, reply.grants, strict=True):
            share = account.share
            assert share is not None
            if isinstance(wish, TokenWish):
                if rule is None or rule is not account.rule:  # the limit was changed meanwhile
                    continue
                share.tat = (asked.sent + grant.state * 1000) * rule.ticks
                if reply.granted:
                    kept = share.tokens if share.has_token(now) else 0
                    lapse = asked.sent + LEASE_NS
                    share.tokens_until = min(share.tokens_until, lapse) if kept else lapse
                    share.tokens = kept + grant.amount
            elif wish.sequence == share.sequence:
                share.free = grant.state
                if reply.granted:
                    self._hold(account, share, grant.amount, asked.sent)
                elif grant.amount < wish.in_use + wish.least:
                    share.full_until = now + FULL_NS

    def _hold(self, account: Account, share: Share, places: int, sent: int) -> None:
        share.held, share.held_until = places, sent + PLACES_NS
        if places:
            self._holding.add(account)
        else:
            self._holding.discard(account)

    async def _tidy(self) -> None:
        """Give back the places that nobody uses, and write the others anew."""
        while True:
            await self._sleep(TIDY_SECONDS)
            if self._holding and self.in_use:
                await self._write([account for account in self._holding if self._due(account)])

    def _due(self, account: Account) -> bool:
        share = account.share
        assert share is not None
        renew = share.held_until - PLACES_NS + RENEW_NS <= self._clock() * NANOSECONDS
        if not renew and share.held == max(share.peak, account.in_flight):
            share.peak = account.in_flight
            return False
        return True

    async def _write(self, accounts: Sequence[Account]) -> None:
        """Write how many places the accounts keep; where Redis does not answer, the next time does it."""
        for start in range(0, len(accounts), WRITES_AT_ONCE):
            await asyncio.gather(*map(self._write_one, accounts[start : start + WRITES_AT_ONCE]))

    async def _write_one(self, account: Account) -> None:
        share = account.share
        assert share is not None
        keep = max(share.peak, account.in_flight) if account.places is not None else 0
        share.peak = account.in_flight
        share.held = min(share.held, keep)  # before it is sent: then they may be another's
        sent = int(self._clock() * NANOSECONDS)
        wish = self._places(account, share, most=keep, least=0)
        with contextlib.suppress(LeasesUnavailable):  # the Redis room has counted it; the places are written next time
            reply = await self._leases.take(account.tenant, "", [wish])
            if wish.sequence == share.sequence:
                share.free = reply.grants[0].state
                self._hold(account, share, reply.grants[0].amount, sent)
