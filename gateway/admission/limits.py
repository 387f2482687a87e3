"""
Rate limits: may this caller ask now, once more, and beside what is being worked on?

A request needs the leave of its key's limit and of its tenant's. One that is refused consumes nothing of either. All of
it happens in one step in this process; where limits are shared through Redis, a request waits for it only when what
this process has taken beforehand is used up (see `leases.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

from gateway.admission.account import Account, Cover, Kind, Refusal, Share
from gateway.admission.gcra import NANOSECONDS
from gateway.admission.policy_headers import limit_headers
from gateway.problems import RateLimited
from gateway.request import Caller, RateLimit
from providers.contract import Clock

#: Accounts that are kept. Above it, those that are as good as new are forgotten, and if need be the oldest without a
#: request under way: their buckets are whole again.
MOST_ACCOUNTS = 100_000


class Shared(Protocol):
    """What is shared with other gateways; `leases.SharedLimits` is it."""

    @property
    def in_use(self) -> bool:
        """Whether the others can be asked at the moment."""

    async def cover(self, accounts: Sequence[Account], enter: Callable[[], bool]) -> bool:
        """Bring what the accounts lack until *enter* returns True; False when that takes too long."""


class Limits:
    """Every limited tenant and key that has asked lately."""

    def __init__(self, *, clock: Clock, shared: Shared | None = None, most_accounts: int = MOST_ACCOUNTS) -> None:
        """
        Begin with whole buckets and nobody inside.

        Args:
            clock: monotonic seconds.
            shared: what is shared with other gateways; None where this is the only one.
            most_accounts: how many tenants and keys are remembered.
        """
        self._clock = clock
        self._shared = shared
        self._most = most_accounts
        self._accounts: dict[tuple[Kind, str], Account] = {}
        self._unlimited = Admission(self, ())

    def admit(self, caller: Caller, headers: dict[str, str] | None = None) -> Admission:
        """
        Return the caller's way in, for one request: `async with` it.

        Args:
            caller: who asks.
            headers: where `RateLimit` and `RateLimit-Policy` are put when the request is refused or goes out.
        """
        tenant, key = caller.tenant_limit, caller.key_limit
        if not (limited(tenant) or limited(key)):
            return self._unlimited
        accounts = []
        if limited(tenant):
            accounts.append(self._account(Kind.TENANT, caller.tenant, caller.tenant, tenant))
        if limited(key):
            accounts.append(self._account(Kind.KEY, caller.tenant, caller.key_id, key))
        return Admission(self, accounts, headers)

    def __len__(self) -> int:
        """Return how many tenants and keys are remembered."""
        return len(self._accounts)

    def now(self) -> int:
        """Return the nanoseconds."""
        return int(self._clock() * NANOSECONDS)

    @property
    def shared(self) -> Shared | None:
        """What is shared with other gateways, while that can be asked."""
        return self._shared if self._shared is not None and self._shared.in_use else None

    def _account(self, kind: Kind, tenant: str, subject: str, limit: RateLimit) -> Account:
        account = self._accounts.get((kind, subject))
        if account is None:
            if len(self._accounts) >= self._most:
                self._forget()
            share = None if self._shared is None else Share(asyncio.Lock())
            account = self._accounts[kind, subject] = Account(kind, tenant, subject, limit, share=share)
        elif account.limit is not limit:
            account.retune(limit)
        return account

    def _forget(self) -> None:
        """Forget accounts, down to nine tenths, so that it is not done for every new one."""
        now = self.now()
        for name in [name for name, account in self._accounts.items() if account.idle(now)]:
            del self._accounts[name]
        surplus = len(self._accounts) - self._most * 9 // 10
        free = (name for name, account in self._accounts.items() if account.unused)
        for name in [name for name, _ in zip(free, range(surplus), strict=False)]:
            del self._accounts[name]


class Admission:
    """One request's way in and out."""

    __slots__ = ("_accounts", "_limits", "_note", "_refusals")

    def __init__(self, limits: Limits, accounts: Sequence[Account], note: dict[str, str] | None = None) -> None:
        """Stand before the limits of these accounts, the tenant's first; *note* is told of them at the end."""
        self._limits = limits
        self._note = note
        self._accounts = accounts
        self._refusals: list[Refusal] = []

    async def __aenter__(self) -> Self:
        """
        Come in.

        Raises:
            RateLimited: the key or the tenant has used up its limit.
        """
        if self._accounts and not self.try_enter():
            await self._wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Go out."""
        self.leave()

    def try_enter(self) -> bool:
        """
        Come in, if that can be said without waiting; True when it is done. Each time it is, `leave` has to follow.

        Raises:
            RateLimited: the key or the tenant has used up its limit.
        """
        return self._enter(shared=self._limits.shared is not None)

    def leave(self) -> None:
        """Go out: the places are free."""
        for account in self._accounts:
            account.leave()
        self._tell()

    @property
    def headers(self) -> dict[str, str]:
        """`RateLimit-Policy` and `RateLimit` for the answer, a refusal included; none for a caller without limits."""
        if not self._accounts:
            return {}
        now, shared = self._limits.now(), self._limits.shared is not None
        violated = set(self.violated)
        standings = [
            standing
            for account in self._accounts
            for standing in account.standings(now, account.share if shared else None)
            if not violated or standing.policy in violated
        ]
        return limit_headers([policy for account in self._accounts for policy in account.policies], standings)

    @property
    def violated(self) -> tuple[str, ...]:
        """The names of the policies that refused the request, as in `RateLimit-Policy`; none when it came in."""
        return tuple(refusal.policy for refusal in self._refusals)

    def _tell(self) -> None:
        if self._note is not None:
            self._note.update(self.headers)

    async def _wait(self) -> None:
        """Come in when Redis has been asked; where it does not answer, by what this process knows."""
        shared = self._limits.shared
        if shared is None or not await shared.cover(self._accounts, self.try_enter):
            self._enter(shared=False)

    def _enter(self, *, shared: bool) -> bool:
        """Come in, with or without what is shared; False when Redis has to be asked first."""
        now = self._limits.now()
        known = True
        for account in self._accounts:
            if not account.admits(now):
                raise self._refused(now, shared=shared)
            if shared and account.share is not None:
                cover = account.covered(account.share, now)
                if cover is Cover.NO:
                    raise self._refused(now, shared=shared)
                known = known and cover is Cover.YES
        if not known:
            return False
        for account in self._accounts:
            account.enter(now, account.share if shared else None)
        return True

    def _refused(self, now: int, *, shared: bool) -> RateLimited:
        """Return the problem, with every policy that is in the way."""
        self._refusals = [
            refusal
            for account in self._accounts
            for refusal in account.refusals(now, account.share if shared else None)
        ]
        self._tell()
        seconds = max(refusal.wait_ns for refusal in self._refusals) / NANOSECONDS
        limits = "; ".join(refusal.says for refusal in self._refusals)
        return RateLimited(
            f"{limits}: no more now. Wait as long as Retry-After says, or have the operator raise the limit",
            retry_after_seconds=seconds,
        )


def limited(limit: RateLimit) -> bool:
    """Whether there is a limit at all."""
    return limit.requests_per_second is not None or limit.concurrency is not None
