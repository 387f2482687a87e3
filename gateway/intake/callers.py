"""
API key → caller.

Without a key nothing can be spent: such a caller reaches the deployments that cost nothing (`routing/screening.py`),
and sees no account. That is what keeps the money, since whoever stands in front of the gateway may look exactly like
this machine (a stock nginx does).

Keyless access exists so that a developer on a laptop gets masks with one curl. It holds only when the gateway itself
listens on loopback, the connection comes from loopback, and no web page sent it: a page on any site can make a browser
ask 127.0.0.1, but not without an `Origin` or a `Sec-Fetch-Site` that tells; and a page whose name is bound anew to
127.0.0.1 still sends its name as `Host`. A request that says it was forwarded is refused, too: that keeps strangers off
this machine's processors where a proxy tells, and no more is counted on it.

A key is looked up once and then remembered, until the bell says that a key was changed (`store/key_bell.py`): so a
revoked key is refused by every gateway from its next request on, and no request costs a round trip.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address

from gateway.loopback import is_loopback
from gateway.problems import SEND_A_KEY, Unauthenticated
from gateway.request import KEYLESS_TENANT, UNLIMITED, UNRESTRICTED, Caller, RateLimit, Scope, TenantPolicy
from gateway.store import Keys, LedgerUnavailable, fingerprint
from gateway.store.key_bell import Heard, KeyBell
from gateway.store.keys import KEY_PREFIX, ApiKey
from providers.contract import Clock, Sleep

#: How long a key that was good is believed while the database cannot be asked: cached answers are served meanwhile.
STALE_SECONDS = 300.0
#: How long a key is remembered although no bell rings: somebody may have changed the table by hand.
REMEMBER_SECONDS = 60.0
#: Keys that are remembered at most; those used longest ago are forgotten first.
MOST_REMEMBERED = 10_000
#: Keys that are looked up at once: many bad ones must not take every connection to the database.
LOOK_UPS = 3
#: Between two questions to a database that was gone, whether it is back.
PROBE_SECONDS = 0.25
KEYLESS = Caller(KEYLESS_TENANT, key_id="keyless", scopes=frozenset({Scope.SEGMENT}), keyless=True)
FORWARDING = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
#: What a browser says of a request that no other site's page has made.
OWN_SITE = frozenset({"none", "same-origin"})


def new_key() -> str:
    """Return a new key: 192 random bits, in letters, digits, `-` and `_`."""
    return KEY_PREFIX + secrets.token_urlsafe(24)


@dataclass(frozen=True, slots=True)
class Peer:
    """The far end of a connection, as the server saw it."""

    address: str | None
    headers: Mapping[str, str]
    """By lower-case name."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the operator allows a tenant."""

    policy: TenantPolicy = UNRESTRICTED
    limit: RateLimit = UNLIMITED
    """Shared by all keys of the tenant."""


@dataclass(frozen=True, slots=True)
class Allowances:
    """What the operator allows everybody."""

    tenants: Mapping[str, Allowance]
    """By the tenant's name."""
    others: Allowance = Allowance()
    """Of tenants that are not named."""

    def caller(self, key: ApiKey) -> Caller:
        """Return who asks with that key."""
        return self._caller(Caller(key.tenant, key.account_id, key.grant.scopes, key_limit=key.grant.limit))

    def keyless(self) -> Caller:
        """Return who asks without one; whatever holds for that tenant, it shares no answers with others."""
        caller = self._caller(KEYLESS)
        return replace(caller, policy=replace(caller.policy, share_cache=False))

    def _caller(self, bare: Caller) -> Caller:
        allowed = self.tenants.get(bare.tenant, self.others)
        return replace(bare, policy=allowed.policy, tenant_limit=allowed.limit)


EVERYBODY_EVERYTHING = Allowances({})


@dataclass(frozen=True, slots=True)
class _Known:
    """A key that was good when it was looked up."""

    key: ApiKey
    caller: Caller
    heard: Heard
    """What the bell had said before it was looked up."""
    at: float
    """By the monotonic clock."""


class Callers:
    """Says who asks. Belongs to one event loop."""

    def __init__(
        self,
        keys: Keys,
        *,
        keyless: bool,
        clock: Clock,
        bell: KeyBell | None = None,
        allowances: Allowances = EVERYBODY_EVERYTHING,
        answers: Callable[[], bool] = lambda: True,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """
        Ask *keys*, and remember what they said.

        Args:
            keys: the store.
            keyless: whether a request without a key may come from loopback.
            clock: monotonic seconds.
            bell: tells when keys were changed; without one, every request asks the store.
            allowances: what tenants are allowed beside what stands with the key.
            answers: whether the database answers, as far as is known: where not, it is not asked.
            sleep: waits between the questions to a database that was gone.
        """
        self._answers = answers
        self._keys = keys
        self._keyless = allowances.keyless() if keyless else None
        self._clock = clock
        self._bell = bell
        self._allowances = allowances
        self._sleep = sleep
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._turns = asyncio.Semaphore(LOOK_UPS)
        self._outage: asyncio.Task[None] | None = None

    async def identify(self, peer: Peer) -> Caller:
        """
        Return who asks.

        Raises:
            Unauthenticated: no key where one is needed, or one that is good for nothing.
            LedgerUnavailable: it cannot be known now.
        """
        authorization = peer.headers.get("authorization")
        if authorization is None:
            if self._keyless is not None and _is_this_machine(peer):
                return self._keyless
            raise Unauthenticated(SEND_A_KEY, field="Authorization")
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Unauthenticated("write the header as `Authorization: Bearer mg_…`", field="Authorization")
        return await self._find(fingerprint(key.strip()))

    async def close(self) -> None:
        """Stop asking after a database that is gone."""
        if self._outage is not None:
            self._outage.cancel()
            with suppress(asyncio.CancelledError):
                await self._outage

    async def _find(self, digest: str) -> Caller:
        """Return the caller whose key has that hash: as it is remembered, or as the store says."""
        heard = self._heard()
        known = self._known.get(digest)
        if (
            known is not None
            and heard.period is not None
            and known.heard == heard
            and self._clock() - known.at < REMEMBER_SECONDS
            and known.key.good_at(self._keys.now())
        ):
            self._known.move_to_end(digest)
            return known.caller
        try:
            async with self._turns:
                return await self._look_up(digest, heard)
        except LedgerUnavailable as failure:
            if self._outage is None:
                self._outage = asyncio.create_task(self._wait_for_the_end())
            return self._believe(known, failure)

    async def _look_up(self, digest: str, heard: Heard) -> Caller:
        if self._outage is not None or not self._answers():
            raise LedgerUnavailable("the database that keys are looked up in gives no answer", certain=True)
        at = self._clock()
        settled = self._bell is not None and await self._bell.settled()
        key = await self._keys.find_key(digest)
        if key is None or not key.good_at(self._keys.now()):
            self._known.pop(digest, None)
            raise Unauthenticated("this key is unknown here, expired or revoked", field="Authorization")
        caller = self._allowances.caller(key)
        self._known[digest] = _Known(key, caller, heard if settled else Heard(heard.rings, None), at)
        self._known.move_to_end(digest)
        if len(self._known) > MOST_REMEMBERED:
            self._known.popitem(last=False)
        return caller

    def _believe(self, known: _Known | None, failure: LedgerUnavailable) -> Caller:
        """
        Return whose key it was, while the database is gone; not where a key was changed since.

        Raises:
            LedgerUnavailable: it is not known well enough.
        """
        if (
            known is None
            or known.heard.rings != self._heard().rings
            or self._clock() - known.at >= STALE_SECONDS
            or not known.key.good_at(self._keys.now())
        ):
            raise failure
        return known.caller

    def _heard(self) -> Heard:
        return Heard(None, None) if self._bell is None else self._bell.heard()

    async def _wait_for_the_end(self) -> None:
        """
        Ask the database until it answers.

        Meanwhile nobody else asks it: one that is stopped in the middle would keep every request waiting for as long as
        one answer may take.
        """
        while True:
            await self._sleep(PROBE_SECONDS)
            with suppress(LedgerUnavailable):
                await self._keys.any_key()
                self._outage = None
                return


def _is_this_machine(peer: Peer) -> bool:
    """Whether the request was made on this machine, by a program and not by a web page."""
    try:
        here = peer.address is not None and ip_address(peer.address).is_loopback
    except ValueError:  # a name, or whatever a server in front of us took for an address
        return False
    if not here or "origin" in peer.headers or any(name in peer.headers for name in FORWARDING):
        return False
    if peer.headers.get("sec-fetch-site", "none") not in OWN_SITE:
        return False
    return _names_loopback(peer.headers.get("host", ""))


def _names_loopback(host: str) -> bool:
    """Whether a Host header names this machine: a page whose name was bound anew to 127.0.0.1 names itself."""
    return is_loopback(host.rpartition(":")[0] if re.search(r":\d+$", host) else host)
