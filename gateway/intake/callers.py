"""
API key → caller.

Why keyless access exists: a developer on a laptop should get masks with one curl. Why it is narrow: it holds only when
the gateway itself listens on loopback, the connection comes from loopback, no proxy has forwarded the request, and no
web page sent it (a page on any site can make a browser post to 127.0.0.1, but not without an `Origin`; and a page whose
name is bound anew to 127.0.0.1 still sends its name as `Host`).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from gateway.problems import Unauthenticated
from gateway.request import Caller
from gateway.store import Keys, LedgerUnavailable, fingerprint
from providers.contract import Clock

KEY_PREFIX = "mg_"
#: How long a key that was good is believed while the database cannot be asked: cached answers are served meanwhile.
STALE_SECONDS = 300.0
KEYLESS = Caller(tenant="local", key_id="keyless")
FORWARDING = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


def new_key() -> str:
    """Return a new key: 192 random bits, in letters, digits, `-` and `_`."""
    return KEY_PREFIX + secrets.token_urlsafe(24)


@dataclass(frozen=True, slots=True)
class Peer:
    """The far end of a connection, as the server saw it."""

    address: str | None
    headers: Mapping[str, str]
    """By lower-case name."""


class Callers:
    """Says who asks."""

    def __init__(self, keys: Keys, *, keyless: bool, clock: Clock, remember_seconds: float = 2.0) -> None:
        """
        Ask *keys*, and remember what they said for a moment.

        Args:
            keys: the store.
            keyless: whether a request without a key may come from loopback.
            clock: monotonic seconds.
            remember_seconds: how long a found key is not looked up again: the longest that a revoked one lives on.
        """
        self._keys = keys
        self._keyless = keyless
        self._clock = clock
        self._remember_seconds = remember_seconds
        self._remembered: dict[str, tuple[float, Caller]] = {}

    async def identify(self, peer: Peer) -> Caller:
        """
        Return who asks.

        Raises:
            Unauthenticated: no key where one is needed, or an unknown one.
        """
        authorization = peer.headers.get("authorization")
        if authorization is None:
            if self._keyless and _is_this_machine(peer):
                return KEYLESS
            raise Unauthenticated("send your key as `Authorization: Bearer mg_…`", field="Authorization")
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Unauthenticated("write the header as `Authorization: Bearer mg_…`", field="Authorization")
        return await self._find(fingerprint(key.strip()))

    async def _find(self, digest: str) -> Caller:
        now = self._clock()
        seen, caller = self._remembered.get(digest, (0.0, None))
        if caller is not None and now - seen < self._remember_seconds:
            return caller
        try:
            key = await self._keys.find_key(digest)
        except LedgerUnavailable:
            if caller is not None and now - seen < STALE_SECONDS:
                return caller
            raise
        if key is None or key.revoked_at is not None:
            self._remembered.pop(digest, None)
            raise Unauthenticated("this key is unknown here, or revoked", field="Authorization")
        caller = Caller(key.tenant, key.id)
        self._remembered[digest] = (now, caller)
        return caller


def _is_this_machine(peer: Peer) -> bool:
    """Whether the request was made on this machine, by a program and not by a web page."""
    try:
        here = peer.address is not None and ip_address(peer.address).is_loopback
    except ValueError:  # a name, or whatever a server in front of us took for an address
        return False
    if not here or "origin" in peer.headers or any(name in peer.headers for name in FORWARDING):
        return False
    return _names_loopback(peer.headers.get("host", ""))


def _names_loopback(host: str) -> bool:
    """Whether a Host header names this machine: a page whose name was bound anew to 127.0.0.1 names itself."""
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    try:
        return name.lower() == "localhost" or ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
