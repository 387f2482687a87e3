"""The first API key, in both databases."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.app import show_key
from gateway.intake.first_key import FIRST_KEY_ID, FIRST_TENANT, issue_first_key
from gateway.request import Scope
from gateway.store import Keys, fingerprint, open_database
from gateway.store.key_file import read_key_file
from gateway.telemetry.logs import make_logger


@pytest.fixture
async def two_stores(database_url: str) -> AsyncIterator[tuple[Keys, Keys]]:
    """The keys of a new database, as two gateways see them."""
    databases = [await open_database(database_url) for _ in range(2)]
    first, second = (Keys(database, lambda: 1_800_000_000.0) for database in databases)
    yield first, second
    for database in databases:
        await database.close()


async def issue(keys: Keys, folder: Path, shown: list[str]) -> str:
    """Make the first key where there is none; return what is logged."""
    log = io.StringIO()
    await issue_first_key(keys, folder, shown.append, make_logger(log))
    return log.getvalue()


async def test_first_key_may_do_everything_and_is_kept(two_stores: tuple[Keys, Keys], tmp_path: Path) -> None:
    """The key that is kept and shown is the one that the store knows by its hash; the log names the file alone."""
    keys, shown, folder = two_stores[0], list[str](), tmp_path / "state"
    said = await issue(keys, folder, shown)
    (secret,) = shown
    key = await keys.find_key(fingerprint(secret))
    assert key is not None
    assert (FIRST_KEY_ID, FIRST_TENANT, frozenset(Scope)) == (key.id, key.tenant, key.grant.scopes)
    assert secret == read_key_file(folder)
    assert (True, False) == (str(folder / "key") in said, secret in said)
    assert "" == await issue(keys, folder, shown)
    assert [secret] == shown


async def test_of_processes_that_start_at_once_one_makes_a_key(two_stores: tuple[Keys, Keys], tmp_path: Path) -> None:
    """However many find that there is none, one key is made: the one that is shown, kept, and good."""
    shown: list[str] = []
    await asyncio.gather(*(issue(keys, tmp_path, shown) for keys in [*two_stores] * 5))
    assert shown == [read_key_file(tmp_path)]
    assert await two_stores[0].find_key(fingerprint(shown[0])) is not None
    assert [] == await asyncio.to_thread(lambda: list(tmp_path.glob(".key-*")))


async def test_no_first_key_is_made_where_keys_are(two_stores: tuple[Keys, Keys], tmp_path: Path) -> None:
    """An operator who has revoked the first key, or made others before, is given none."""
    keys, shown = two_stores[0], list[str]()
    await issue(keys, tmp_path, shown)
    await keys.revoke_key(FIRST_KEY_ID)
    shown.clear()
    await issue(keys, tmp_path, shown)
    assert [] == shown


async def test_a_key_that_cannot_be_kept_is_not_made(two_stores: tuple[Keys, Keys], tmp_path: Path) -> None:
    """Where the state folder cannot be written there is no key that nobody knows, and the log says how to make one."""
    (tmp_path / "state").write_text("a file where the folder should be")
    shown: list[str] = []
    assert "maskgate keys create" in await issue(two_stores[0], tmp_path / "state", shown)
    assert ([], False) == (shown, await two_stores[0].any_key())


def test_a_key_is_shown_to_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What stands on standard error is a collector's of logs, unless somebody sits there."""
    show_key("mg_secret")
    assert ("", "") == tuple(capsys.readouterr())
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb") as screen, os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        show_key("mg_secret")
        assert b"mg_secret" in screen.read1()
