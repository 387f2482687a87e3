"""Who may ask: by key, and without one only on this machine."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.accounting import Ledger, LedgerUnavailable
from gateway.intake.callers import KEYLESS, STALE_SECONDS, Callers, Peer, new_key
from gateway.problems import Unauthenticated
from gateway.request import Caller
from gateway.store import fingerprint

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


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the ledger is."""
    return tmp_path / "ledger.db"


@pytest.fixture
async def ledger(file: Path, clock: Clock) -> AsyncIterator[Ledger]:
    """A real ledger with one key of the tenant acme."""
    ledger = await Ledger.open(f"sqlite:///{file}", wall=lambda: 1_800_000_000.0, clock=clock)
    await ledger.keys.add_key("key_1", tenant="acme", sha256=fingerprint(KEY))
    yield ledger
    await ledger.close()


@pytest.fixture
def callers(ledger: Ledger, clock: Clock) -> Callers:
    """Callers of a gateway that listens on loopback."""
    return Callers(ledger.keys, keyless=True, clock=clock)


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
        ("Bearer mg_another", "unknown here, or revoked"),
        (f"Bearer {KEY}x", "unknown here, or revoked"),
        (f"Bearer {fingerprint(KEY)}", "unknown here, or revoked"),
        ("Bearer ÿ\x80", "unknown here, or revoked"),
    ],
)
async def test_a_wrong_key_is_refused_even_where_none_is_needed(callers: Callers, header: str, words: str) -> None:
    """Who shows a key wants its tenant to pay, so a bad one is told and not passed over."""
    with pytest.raises(Unauthenticated, match=words) as refused:
        await callers.identify(Peer("127.0.0.1", {"authorization": header}))
    assert KEY not in refused.value.message


async def test_a_revoked_key_is_refused(callers: Callers, ledger: Ledger) -> None:
    """A key that is good for nothing is treated as one that never was."""
    await ledger.keys.revoke_key("key_1")
    with pytest.raises(Unauthenticated, match="unknown here, or revoked"):
        await callers.identify(WITH_KEY)


async def test_a_revoked_key_lives_on_for_two_seconds_at_most(callers: Callers, ledger: Ledger, clock: Clock) -> None:
    """A key is looked up at most every two seconds, and not a moment later."""
    assert ACME == await callers.identify(WITH_KEY)
    await ledger.keys.revoke_key("key_1")
    clock.now += 1.875
    assert ACME == await callers.identify(WITH_KEY)
    clock.now += 0.125
    with pytest.raises(Unauthenticated):
        await callers.identify(WITH_KEY)
    clock.now -= 0.25  # and it is forgotten, not believed again
    with pytest.raises(Unauthenticated):
        await callers.identify(WITH_KEY)


async def test_a_remembered_key_needs_no_database(callers: Callers, file: Path) -> None:
    """Within the two seconds the store is not asked at all."""
    await callers.identify(WITH_KEY)
    out_of_reach(file)
    assert ACME == await callers.identify(WITH_KEY)


async def test_a_known_key_is_believed_for_five_minutes_while_the_store_is_down(
    callers: Callers, clock: Clock, file: Path
) -> None:
    """What the cache holds can be served meanwhile; then even a known key is asked after."""
    seen = clock.now
    await callers.identify(WITH_KEY)
    out_of_reach(file)
    for seconds in (2.0, 100.0, STALE_SECONDS - 0.001):
        clock.now = seen + seconds
        assert ACME == await callers.identify(WITH_KEY)
    clock.now = seen + STALE_SECONDS
    with pytest.raises(LedgerUnavailable):
        await callers.identify(WITH_KEY)
    back_again(file)
    assert ACME == await callers.identify(WITH_KEY)


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


def test_new_keys_differ_and_can_stand_in_a_header() -> None:
    """A key has a prefix to be found by, and 192 random bits."""
    keys = {new_key() for _ in range(1000)}
    assert 1000 == len(keys)
    assert all(re.fullmatch(r"mg_[A-Za-z0-9_-]{32}", key) for key in keys)
