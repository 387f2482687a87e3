"""What holds for `maskgate db`, and for `maskgate serve` on a database of another release."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from gateway.cli.db import db
from gateway.cli.failures import FAILED, NO_GATEWAY, Commands
from tests.gateway.store.old_ledger import KEYS, in_database, make_old_ledger, old_entries

Run = Callable[..., Result]


@pytest.fixture
def run(environ: dict[str, str]) -> Run:
    """Return `maskgate db` in this process; the named variables are added to its environment."""
    program = typer.Typer(cls=Commands)
    program.add_typer(db, name="db")
    unset = dict.fromkeys(("MASKGATE_DATABASE_URL", "MASKGATE_CONFIG"))

    def run(*arguments: str, **variables: str) -> Result:
        return CliRunner().invoke(program, ["db", *arguments], env=unset | environ | variables)

    return run


def test_a_folder_without_a_database_gets_one(run: Run, tmp_path: Path) -> None:
    """Before the upgrade there is nothing, and looking makes nothing; afterwards there is nothing to do."""
    file = tmp_path / "state" / "maskgate.db"
    shown = f"sqlite:///{file}"
    found = json.loads(run("current", "--json").stdout)
    assert found == {
        "database": shown,
        "revision": None,
        "code": "0005",
        "pending": ["0001", "0002", "0003", "0004", "0005"],
    }
    assert not file.exists()
    found = json.loads(run("upgrade", "--json").stdout)
    assert found == {
        "database": shown,
        "before": None,
        "revision": "0005",
        "applied": ["0001", "0002", "0003", "0004", "0005"],
    }
    assert file.exists()
    again = run("upgrade")
    assert (again.exit_code, again.stdout) == (0, f"{shown} is at revision 0005 already.\n")


def test_an_old_database_is_upgraded(run: Run, database_url: str) -> None:
    """The database that the environment names goes from the first release to this one."""
    asyncio.run(make_old_ledger(database_url, old_entries(10, seed=1), KEYS))
    table = run("current", MASKGATE_DATABASE_URL=database_url)
    assert table.exit_code == 0
    assert table.stdout.split()[-6:] == ["0001", "0005", "0002,", "0003,", "0004,", "0005"]
    told = run("upgrade", MASKGATE_DATABASE_URL=database_url)
    assert (told.exit_code, told.stdout) == (0, f"{database_url} went from 0001 to revision 0005.\n")
    found = json.loads(run("current", "--json", MASKGATE_DATABASE_URL=database_url).stdout)
    assert (found["revision"], found["pending"]) == ("0005", [])


def test_a_database_of_a_newer_release_is_refused(run: Run, database_url: str) -> None:
    """Both commands say that a newer release is needed, and fail."""
    assert run("upgrade", MASKGATE_DATABASE_URL=database_url).exit_code == 0
    newer = "UPDATE alembic_version SET version_num = '0999'"

    def rewrite(connection: Any) -> None:
        connection.exec_driver_sql(newer)

    asyncio.run(in_database(database_url, rewrite))
    for command in ("upgrade", "current"):
        told = run(command, MASKGATE_DATABASE_URL=database_url)
        assert told.exit_code == FAILED
        assert "revision 0999" in told.stderr


def test_no_message_shows_a_password(run: Run, unused_port: int) -> None:
    """A server that is not there and an address that is none are named without what is secret in them."""
    for url in (f"postgresql://owner:hidden@127.0.0.1:{unused_port}/ledger", "postgresql://owner:hidden@[/ledger"):
        told = run("current", MASKGATE_DATABASE_URL=url)
        assert told.exit_code == FAILED
        assert "maskgate:" in told.stderr
        assert "hidden" not in told.output


@pytest.mark.needs("postgres")
def test_gateway_refuses_an_old_server(environ: dict[str, str], postgres_url: str) -> None:
    """`maskgate serve` on PostgreSQL at an older revision ends with the command that has to be run first."""
    asyncio.run(make_old_ledger(postgres_url, keys=KEYS))
    ended = subprocess.run(
        [sys.executable, "-m", "gateway.cli.main", "serve", "--port", "0"],
        env=environ | {"MASKGATE_DATABASE_URL": postgres_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == NO_GATEWAY
    assert ended.stderr.endswith("then run: maskgate db upgrade\n")
