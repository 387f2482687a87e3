"""Opening a database."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from gateway.store import LedgerUnavailable, open_database


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://host/db", "nonsense"])
async def test_an_address_of_no_known_kind_is_refused(url: str) -> None:
    """The error says which addresses would do."""
    with pytest.raises(ValueError, match="write sqlite:///"):
        await open_database(url)


async def test_a_refused_address_hides_its_password() -> None:
    """What stands before the @ of an unreadable address is not repeated."""
    with pytest.raises(ValueError, match="not the address") as refused:
        await open_database("://owner:secret@host")
    assert "secret" not in str(refused.value)


async def test_a_ledger_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    """The file and the folders above it are made, and others may not read it."""
    database = await open_database(f"sqlite:///{tmp_path}/a/b/ledger.db")
    await database.close()
    assert stat.S_IMODE((tmp_path / "a/b/ledger.db").stat().st_mode) == 0o600


async def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    """A file with something else in it is not overwritten."""
    path = tmp_path / "ledger.db"
    path.write_bytes(b"a diary" * 1000)
    with pytest.raises(LedgerUnavailable, match="not a database"):
        await open_database(f"sqlite:///{path}")
    assert path.read_bytes() == b"a diary" * 1000


@pytest.mark.needs("postgres")
async def test_starters_take_turns(postgres_url: str) -> None:
    """Ten gateways that start at once on an empty database all start."""
    opened = await asyncio.gather(*(open_database(postgres_url, connect_seconds=20) for _ in range(10)))
    for database in opened:
        await database.close()


async def test_a_server_that_is_not_there_is_named(unused_tcp_port: int) -> None:
    """An address where nobody listens is an unavailable ledger, at once."""
    with pytest.raises(LedgerUnavailable):
        await open_database(f"postgresql://maskgate@127.0.0.1:{unused_tcp_port}/ledger")
