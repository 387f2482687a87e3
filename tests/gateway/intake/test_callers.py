"""Who may ask: by key, and without one only on this machine. See `test_revocation.py` for keys that change."""

from __future__ import annotations

import asyncio
import io
import re
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from gateway.accounting import Ledger, LedgerUnavailable
from gateway.intake import callers as callers_module
from gateway.intake.callers import (
    KEYLESS,
    LOOK_UPS,
    REMEMBER_SECONDS,
    STALE_SECONDS,
    Allowance,
    Allowances,
    Callers,
    Peer,
    new_key,
)
from gateway.problems import Unauthenticated
from gateway.request import KEYLESS_TENANT, Caller, RateLimit, Scope, TenantPolicy
from gateway.store import fingerprint
from gateway.store.key_bell import KeyBell, open_bell
from gateway.store.keys import MICROS, ApiKey, Grant
from gateway.telemetry.logs import make_logger

NOW = 1_800_000_000
KEY = "mg_a-key-of-acme"
WITH_KEY = Peer("203.0.113.9", {"authorization": f"Bearer {KEY}"})
ACME = Caller(tenant="acme", key_id="key_1")


@dataclass
class Clock:
    """A clock that is wound by hand."""

    now: float = 1000.0

    def __call__(self) -> float:
        """Return the seconds it shows."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock at some moment."""
    return Clock()


@dataclass
class Pauses:
    """Sleeps that last until the test ends them."""

    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, _seconds: float) -> None:
        """Wait to be told."""
        self.waiting.set()
        await self.go_on.wait()
        self.go_on.clear()


@pytest.fixture
def pauses() -> Pauses:
    """The pauses between two questions to a database that is gone."""
    return Pauses()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the ledger is."""
    return tmp_path / "ledger.db"


@pytest.fixture
async def ledger(file: Path, clock: Clock) -> AsyncIterator[Ledger]:
    """A real ledger with one key of the tenant acme."""
    ledger = await Ledger.open(f"sqlite:///{file}", wall=lambda: NOW + clock.now - 1000, clock=clock)
    await ledger.keys.add_key("key_1", tenant="acme", sha256=fingerprint(KEY))
    yield ledger
    await ledger.close()


@pytest.fixture
async def bell(ledger: Ledger, file: Path, clock: Clock) -> KeyBell:
    """The bell beside the ledger."""
    return await open_bell(f"sqlite:///{file}", settle=ledger.keys.settle, clock=clock, log=make_logger(io.StringIO()))


@pytest.fixture
async def callers(ledger: Ledger, clock: Clock, bell: KeyBell, pauses: Pauses) -> AsyncIterator[Callers]:
    """Callers of a gateway that listens on loopback."""
    callers = Callers(ledger.keys, keyless=True, clock=clock, bell=bell, sleep=pauses)
    yield callers
    await callers.close()


def out_of_reach(file: Path) -> None:
    """Make every look-up of a key fail, as a database in trouble does."""
    _rename(file, "api_keys", "api_keys_elsewhere")


def back_again(file: Path) -> None:
    """Let keys be found again."""
    _rename(file, "api_keys_elsewhere", "api_keys")


def _rename(file: Path, table: str, name: str) -> None:
    connection = sqlite3.connect(file)
    connection.execute(f"ALTER TABLE {table} RENAME TO {name}")
    connection.close()


@pytest.mark.parametrize(
    ("address", "headers", "comes_in"),
    [
        ("127.0.0.1", {"host": "127.0.0.1:8080"}, True),
        ("127.8.9.10", {"host": "127.0.0.1:8080"}, True),
        ("::1", {"host": "127.0.0.1:8080"}, True),
        ("127.0.0.1", {"host": "localhost:8080", "user-agent": "curl/8"}, True),
        # a proxy on this machine stands before somebody else
        ("127.0.0.1", {"host": "localhost", "forwarded": "for=203.0.113.9"}, False),
        ("127.0.0.1", {"host": "localhost", "x-forwarded-for": "127.0.0.1"}, False),
        ("127.0.0.1", {"host": "localhost", "x-real-ip": "127.0.0.1"}, False),
        ("127.0.0.1", {"host": "localhost", "via": "1.1 proxy"}, False),
        # a web page can make a browser on this machine ask
        ("127.0.0.1", {"host": "localhost", "origin": "https://example.com"}, False),
        ("127.0.0.1", {"host": "localhost", "origin": "null"}, False),
        ("127.0.0.1", {"host": "localhost", "origin": "http://127.0.0.1:8080"}, False),
        ("127.0.0.1", {"host": "localhost", "sec-fetch-site": "cross-site"}, False),
        ("127.0.0.1", {"host": "localhost", "sec-fetch-site": "same-site"}, False),
        ("127.0.0.1", {"host": "localhost", "sec-fetch-site": "none"}, True),
        ("127.0.0.1", {"host": "localhost", "sec-fetch-site": "same-origin"}, True),
        # a page on a name that was bound anew to this machine
        ("127.0.0.1", {"host": "evil.example"}, False),
        ("127.0.0.1", {"host": "127.0.0.1.evil.example:8080"}, False),
        ("127.0.0.1", {}, False),
        ("::1", {"host": "[::1]:8080"}, True),
        # not this machine
        ("203.0.113.9", {"host": "localhost"}, False),
        ("192.168.1.5", {"host": "localhost"}, False),
        ("10.0.0.1", {"host": "localhost"}, False),
        ("0.0.0.0", {"host": "localhost"}, False),
        ("::", {}, False),
        ("fe80::1%eth0", {"host": "localhost"}, False),
        ("203.0.113.9", {"host": "localhost", "x-forwarded-for": "127.0.0.1"}, False),
        # no address that could be believed
        (None, {}, False),
        ("", {}, False),
        ("localhost", {}, False),
        ("testclient", {}, False),
        ("/run/maskgate.sock", {}, False),
    ],
)
async def test_without_a_key_only_a_program_on_this_machine_comes_in(
    callers: Callers, address: str | None, headers: dict[str, str], *, comes_in: bool
) -> None:
    """Loopback is not enough: no proxy and no web page may stand between."""
    peer = Peer(address, headers)
    if comes_in:
        assert KEYLESS == await callers.identify(peer)
    else:
        with pytest.raises(Unauthenticated, match="send your key as `Authorization: Bearer") as refused:
            await callers.identify(peer)
        assert ("unauthenticated", "Authorization") == (refused.value.code, refused.value.field)


async def test_where_keyless_access_is_off_loopback_needs_a_key(ledger: Ledger, clock: Clock) -> None:
    """A gateway that listens to the network asks everybody for a key."""
    callers = Callers(ledger.keys, keyless=False, clock=clock)
    with pytest.raises(Unauthenticated):
        await callers.identify(Peer("127.0.0.1", {}))
    assert ACME == await callers.identify(WITH_KEY)


@pytest.mark.parametrize("header", [f"Bearer {KEY}", f"bearer {KEY}", f"BEARER   {KEY} "])
async def test_a_key_says_who_asks(callers: Callers, header: str) -> None:
    """The tenant and the key's id come from the store, wherever the request comes from."""
    for address in ("203.0.113.9", "127.0.0.1", None):
        assert ACME == await callers.identify(Peer(address, {"authorization": header, "origin": "https://example.com"}))


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("", "write the header as"),
        ("Bearer", "write the header as"),
        ("Bearer   ", "write the header as"),
        (f"Basic {KEY}", "write the header as"),
        (KEY, "write the header as"),
        ("Bearer mg_another", "unknown here, expired or revoked"),
        (f"Bearer {KEY}x", "unknown here, expired or revoked"),
        (f"Bearer {fingerprint(KEY)}", "unknown here, expired or revoked"),
        ("Bearer ÿ\x80", "unknown here, expired or revoked"),
    ],
)
async def test_a_wrong_key_is_refused_even_where_none_is_needed(callers: Callers, header: str, words: str) -> None:
    """Who shows a key wants its tenant to pay, so a bad one is told and not passed over."""
    with pytest.raises(Unauthenticated, match=words) as refused:
        await callers.identify(Peer("127.0.0.1", {"authorization": header}))
    assert KEY not in refused.value.message


async def test_a_remembered_key_needs_no_database(callers: Callers, file: Path, clock: Clock) -> None:
    """While no key is changed the store is not asked, for a minute."""
    await callers.identify(WITH_KEY)
    clock.now += REMEMBER_SECONDS - 0.001
    out_of_reach(file)
    assert ACME == await callers.identify(WITH_KEY)
    assert callers._outage is None
    clock.now += 0.001
    assert ACME == await callers.identify(WITH_KEY)
    assert callers._outage is not None


async def test_without_a_bell_nothing_is_remembered(ledger: Ledger, clock: Clock, file: Path) -> None:
    """A gateway that could not hear of a change asks the store for every request."""
    callers = Callers(ledger.keys, keyless=True, clock=clock)
    await callers.identify(WITH_KEY)
    connection = sqlite3.connect(file)  # behind everybody's back
    connection.execute("UPDATE api_keys SET revoked_at = 1")
    connection.commit()
    connection.close()
    with pytest.raises(Unauthenticated):
        await callers.identify(WITH_KEY)


async def test_an_expired_key_is_refused_from_its_last_moment_on(
    callers: Callers, ledger: Ledger, clock: Clock
) -> None:
    """A key that is remembered ends as punctually as one that is looked up."""
    grant = Grant(expires_at=(NOW + 10) * MICROS)
    await ledger.keys.add_key("key_2", tenant="acme", sha256=fingerprint("mg_brief"), grant=grant)
    brief = Peer(None, {"authorization": "Bearer mg_brief"})
    assert "key_2" == (await callers.identify(brief)).key_id
    clock.now += 9.5
    assert "key_2" == (await callers.identify(brief)).key_id
    clock.now += 0.5
    with pytest.raises(Unauthenticated, match="unknown here, expired or revoked"):
        await callers.identify(brief)


async def test_every_bad_key_is_refused_in_the_same_words(callers: Callers, ledger: Ledger) -> None:
    """Nobody learns from the answer whether a key was ever good."""
    await ledger.keys.add_key("key_2", tenant="acme", sha256=fingerprint("mg_old"), grant=Grant(expires_at=1))
    await ledger.keys.add_key("key_3", tenant="acme", sha256=fingerprint("mg_ended"))
    await ledger.keys.revoke_key("key_3")
    words = set()
    for key in ("mg_old", "mg_ended", "mg_never"):
        with pytest.raises(Unauthenticated) as refused:
            await callers.identify(Peer(None, {"authorization": f"Bearer {key}"}))
        words.add((refused.value.message, refused.value.field))
    assert 1 == len(words)


async def test_a_known_key_is_believed_for_five_minutes_while_the_store_is_down(
    callers: Callers, clock: Clock, file: Path, pauses: Pauses
) -> None:
    """What the cache holds can be served meanwhile; then even a known key is asked after."""
    seen = clock.now
    await callers.identify(WITH_KEY)
    out_of_reach(file)
    for seconds in (REMEMBER_SECONDS, 100.0, STALE_SECONDS - 0.001):
        clock.now = seen + seconds
        assert ACME == await callers.identify(WITH_KEY)
    clock.now = seen + STALE_SECONDS
    with pytest.raises(LedgerUnavailable):
        await callers.identify(WITH_KEY)
    back_again(file)
    outage = callers._outage
    assert outage is not None
    pauses.go_on.set()
    await outage
    assert ACME == await callers.identify(WITH_KEY)


async def test_during_an_outage_one_question_is_asked_for_all(
    callers: Callers, clock: Clock, file: Path, pauses: Pauses
) -> None:
    """Once the store is known to be gone no request waits for it; an answer to the one that asks on ends that."""
    await callers.identify(WITH_KEY)
    clock.now += REMEMBER_SECONDS
    out_of_reach(file)
    assert ACME == await callers.identify(WITH_KEY)
    await pauses.waiting.wait()
    back_again(file)  # the store would answer, but nobody has asked yet
    with pytest.raises(LedgerUnavailable):
        await callers.identify(Peer(None, {"authorization": "Bearer mg_another"}))
    outage = callers._outage
    assert outage is not None
    pauses.go_on.set()
    await outage
    with pytest.raises(Unauthenticated):
        await callers.identify(Peer(None, {"authorization": "Bearer mg_another"}))


async def test_a_key_that_may_have_changed_is_not_believed(callers: Callers, ledger: Ledger, file: Path) -> None:
    """Once the bell has rung, a store that is gone lets nobody in on faith."""
    await callers.identify(WITH_KEY)
    await ledger.keys.revoke_key("key_1")
    out_of_reach(file)
    with pytest.raises(LedgerUnavailable):
        await callers.identify(WITH_KEY)


async def test_an_unknown_key_is_never_believed_while_the_store_is_down(callers: Callers, file: Path) -> None:
    """Whoever was not seen before is not let in on faith, and is not told that the key is bad."""
    await callers.identify(WITH_KEY)
    out_of_reach(file)
    with pytest.raises(LedgerUnavailable):
        await callers.identify(Peer("203.0.113.9", {"authorization": "Bearer mg_another"}))


async def test_a_refused_key_is_asked_after_again(callers: Callers, ledger: Ledger) -> None:
    """A key that is added a moment after it was refused is good at once."""
    peer = Peer(None, {"authorization": "Bearer mg_new"})
    with pytest.raises(Unauthenticated):
        await callers.identify(peer)
    await ledger.keys.add_key("key_2", tenant="globex", sha256=fingerprint("mg_new"))
    assert Caller("globex", "key_2") == await callers.identify(peer)


async def test_what_is_remembered_is_bounded(callers: Callers, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys used longest ago are forgotten, and bad ones are not remembered at all."""
    monkeypatch.setattr(callers_module, "MOST_REMEMBERED", 2)
    for number in range(4):
        await ledger.keys.add_key(f"key_{number + 2}", tenant="acme", sha256=fingerprint(f"mg_{number}"))
    for number in (0, 1, 0, 2):
        await callers.identify(Peer(None, {"authorization": f"Bearer mg_{number}"}))
    with pytest.raises(Unauthenticated):
        await callers.identify(Peer(None, {"authorization": "Bearer mg_bad"}))
    assert ["key_2", "key_4"] == [known.key.id for known in callers._known.values()]


async def test_many_bad_keys_leave_the_database_to_others(
    callers: Callers, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many keys are tried at once, few of them are looked up at once."""
    under_way, most = 0, 0
    find = ledger.keys.find_key

    async def counted(sha256: str) -> ApiKey | None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return await find(sha256)
        finally:
            under_way -= 1

    monkeypatch.setattr(ledger.keys, "find_key", counted)
    tried = (callers.identify(Peer(None, {"authorization": f"Bearer mg_{number}"})) for number in range(50))
    refused = await asyncio.gather(*tried, return_exceptions=True)
    assert {Unauthenticated} == {type(problem) for problem in refused}
    assert LOOK_UPS == most


async def test_a_caller_has_what_the_key_and_the_operator_allow(ledger: Ledger, clock: Clock) -> None:
    """Scopes and limit come from the key, policy and the shared limit from the tenant's settings or everybody's."""
    policy = TenantPolicy(providers=frozenset({"prodia"}), share_cache=True)
    allowed = Allowance(policy, RateLimit(concurrency=9))
    others = Allowance(limit=RateLimit(concurrency=3))
    allowances = Allowances({"acme": allowed, KEYLESS_TENANT: allowed}, others)
    limit = RateLimit(concurrency=2)
    grant = Grant(frozenset({Scope.ADMIN}), limit)
    await ledger.keys.add_key("key_2", tenant="globex", sha256=fingerprint("mg_globex"), grant=grant)
    callers = Callers(ledger.keys, keyless=True, clock=clock, allowances=allowances)
    assert Caller("acme", "key_1", policy=policy, tenant_limit=RateLimit(concurrency=9)) == await callers.identify(
        WITH_KEY
    )
    assert Caller(
        "globex", "key_2", frozenset({Scope.ADMIN}), tenant_limit=RateLimit(concurrency=3), key_limit=limit
    ) == await callers.identify(Peer(None, {"authorization": "Bearer mg_globex"}))
    keyless = await callers.identify(Peer("127.0.0.1", {"host": "localhost"}))
    alone = replace(policy, share_cache=False)
    assert replace(KEYLESS, policy=alone, tenant_limit=RateLimit(concurrency=9)) == keyless
    assert (frozenset({Scope.SEGMENT}), True) == (keyless.scopes, keyless.keyless)


async def test_an_earlier_secret_speaks_for_its_key(callers: Callers, ledger: Ledger) -> None:
    """After a rotation both secrets are one caller, so that they share budgets and limits."""
    await ledger.keys.rotate_key(
        "key_1", sha256=fingerprint("mg_new"), prefix="mg_new", earlier_id="key_0", grace_seconds=60
    )
    assert ACME == await callers.identify(WITH_KEY)
    assert ACME == await callers.identify(Peer(None, {"authorization": "Bearer mg_new"}))


def test_new_keys_differ_and_can_stand_in_a_header() -> None:
    """A key has a prefix to be found by, and 192 random bits."""
    keys = {new_key() for _ in range(1000)}
    assert 1000 == len(keys)
    assert all(re.fullmatch(r"mg_[A-Za-z0-9_-]{32}", key) for key in keys)
