"""Opening a database."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.store import LedgerUnavailable, open_database
from gateway.store.migrating import HEAD, SchemaUnfit
from gateway.store.opening import SchemaState, examine_database, upgrade_database
from tests.gateway.store.old_ledger import KEYS, in_database, make_old_ledger, old_entries, read_schema

ROOT = Path(__file__).parents[3]


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


async def test_an_old_file_is_upgraded_when_it_is_opened(tmp_path: Path) -> None:
    """A SQLite ledger of an older release is brought to this one's revision without being asked."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    await make_old_ledger(url, old_entries(10, seed=1), KEYS)
    assert await examine_database(url) == SchemaState("0001", ("0002", "0003", "0004", "0005"))
    await (await open_database(url)).close()
    assert await examine_database(url) == SchemaState("0005", ())


@pytest.mark.needs("postgres")
async def test_an_old_server_is_left_to_its_operator(postgres_url: str) -> None:
    """A PostgreSQL ledger of an older release is refused with the command that upgrades it, and is not touched."""
    await make_old_ledger(postgres_url, old_entries(10, seed=1), KEYS)
    before = await in_database(postgres_url, read_schema)
    with pytest.raises(SchemaUnfit, match="run: maskgate db upgrade"):
        await open_database(postgres_url)
    assert await in_database(postgres_url, read_schema) == before
    await upgrade_database(postgres_url)
    await (await open_database(postgres_url)).close()


async def test_a_newer_database_is_refused(database_url: str) -> None:
    """What a newer release has upgraded is neither opened nor upgraded, and both revisions are named."""
    await (await open_database(database_url)).close()
    newer = "UPDATE alembic_version SET version_num = '0999'"
    await in_database(database_url, lambda connection: connection.exec_driver_sql(newer))
    for use in (open_database, upgrade_database, examine_database):
        with pytest.raises(SchemaUnfit, match=f"at revision 0999, .* none after {HEAD}"):
            await use(database_url)


def test_a_look_at_a_file_makes_none(tmp_path: Path) -> None:
    """To ask for the revision of a ledger that is not there makes no file."""
    state = asyncio.run(examine_database(f"sqlite:///{tmp_path}/ledger.db"))
    assert state == SchemaState(None, ("0001", "0002", "0003", "0004", "0005"))
    assert list(tmp_path.iterdir()) == []


async def test_starters_share_an_old_file(tmp_path: Path) -> None:
    """Four gateways that start at once on a file of an older release all start, and one has upgraded it."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    await make_old_ledger(url, old_entries(300, seed=2), KEYS)
    for database in await asyncio.gather(*(open_database(url) for _ in range(4))):
        await database.close()
    assert await examine_database(url) == SchemaState("0005", ())


def test_a_start_with_nothing_to_migrate_imports_no_alembic(tmp_path: Path) -> None:
    """Neither the first start on a new file nor the second one pays for Alembic."""
    program = (
        "import asyncio, sys; from gateway.store.opening import open_database\n"
        "async def main():\n"
        "    for _ in range(2): await (await open_database(sys.argv[1])).close()\n"
        "asyncio.run(main()); print('alembic' in sys.modules)"
    )
    command = [sys.executable, "-c", program, f"sqlite:///{tmp_path}/ledger.db"]
    assert subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout == "False\n"
