"""`maskgate ledger verify`, on ledgers that the gateway's own code has written, in both databases."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
import typer
from sqlalchemy import Connection
from typer.testing import CliRunner, Result

from gateway.accounting import Attempt, Ledger
from gateway.cli.failures import Commands
from gateway.cli.ledger import ledger
from gateway.store import Database, open_database
from providers.contract import Money
from tests.gateway.accounting.ledger_rows import unlocked

SPENT = 4000


async def spend(url: str) -> None:
    """Have one attempt settled, one released, one held and one left open."""
    opened = await Ledger.open(url, wall=time.time, clock=time.monotonic, answer_seconds=10)
    for number, name in enumerate(("settled", "released", "held", "open")):
        attempt = Attempt(name, "seg_1", number, "acme", "k1", "eu", "runflow", "sam-3", "eu", "p1", (("team", "red"),))
        reservation = await opened.reserve(attempt, Money(5000), expires_in=60)
        match name:
            case "settled":
                await reservation.settle(charge=Money(SPENT), cost=Money(3000), reported=None, upstream_ref="up_1")
            case "released":
                await reservation.release("never_sent")
            case "held":
                await reservation.hold("unanswered")
    await opened.close()


async def change(url: str, statement: str) -> None:
    """Change a ledger behind the database's back."""
    database: Database = await open_database(url)

    def changed(connection: Connection) -> None:
        unlocked(connection)
        connection.exec_driver_sql(statement)

    await database.write(changed)
    await database.close()


@pytest.fixture
def written(database_url: str) -> str:
    """The address of a ledger with four attempts in it."""
    asyncio.run(spend(database_url))
    return database_url


def maskgate(url: str, tmp_path: Path, *arguments: str) -> Result:
    """Run the command on a database."""
    app = typer.Typer(cls=Commands)
    app.add_typer(ledger, name="ledger")
    environ = {"MASKGATE_DATABASE_URL": url, "MASKGATE_STATE_DIR": str(tmp_path / "state"), "MASKGATE_CONFIG": ""}
    return CliRunner().invoke(app, ["ledger", *arguments], env=environ)


def test_a_whole_ledger_is_told_to_be_whole(written: str, tmp_path: Path) -> None:
    """Figures and the heads of the chains go to standard output, the progress to standard error."""
    found = maskgate(written, tmp_path, "verify")
    assert 0 == found.exit_code
    assert "The ledger is intact. Entries: 7, attempts: 4, days: 1, windows of budgets: 0." in found.stdout
    assert "head of its chain" in found.stdout
    assert "checking attempts" in found.stderr


def test_a_broken_ledger_is_told_where_it_breaks(written: str, tmp_path: Path) -> None:
    """Exit code 1, and the entry by its writer, its number and its attempt."""
    before = json.loads(maskgate(written, tmp_path, "verify", "--json").stdout)
    (head,) = before["heads"]
    asyncio.run(change(written, "UPDATE entries SET upstream_ref = 'up_2' WHERE attempt_id = 'settled' AND phase = 1"))
    found = maskgate(written, tmp_path, "verify", "--json")
    document = json.loads(found.stdout)
    assert (1, True, False) == (found.exit_code, before["intact"], document["intact"])
    (broken,) = document["breaks"]
    assert ("chain", head["writer"], 2, "settled") == (
        broken["law"],
        broken["writer"],
        broken["sequence"],
        broken["attempt_id"],
    )
    text = maskgate(written, tmp_path, "verify").stdout
    assert f"entry 2 of {head['writer']}, attempt settled: chain: expected {broken['expected']}" in text
    assert "The ledger is BROKEN. Entries: 7," in text


def test_a_noted_head_is_looked_for(written: str, tmp_path: Path) -> None:
    """A chain whose end was cut off has no such entry any more."""
    noted = tmp_path / "heads.json"
    noted.write_text(maskgate(written, tmp_path, "verify", "--json").stdout)
    assert 0 == maskgate(written, tmp_path, "verify", "--heads", str(noted)).exit_code
    asyncio.run(change(written, "DELETE FROM entries WHERE attempt_id = 'open'"))
    found = maskgate(written, tmp_path, "verify", "--heads", str(noted))
    assert 1 == found.exit_code
    assert "noted_head: expected" in found.stdout


def test_no_ledger_is_no_whole_ledger(tmp_path: Path) -> None:
    """A look where nothing was ever written is refused, and makes no file."""
    found = maskgate("", tmp_path, "verify")
    assert 1 == found.exit_code
    assert "there is no ledger in" in found.stderr
    assert not (tmp_path / "state" / "maskgate.db").exists()


def test_what_no_look_has_printed_is_refused(tmp_path: Path) -> None:
    """The file is named."""
    strange = tmp_path / "strange.json"
    strange.write_text("[]")
    found = maskgate("", tmp_path, "verify", "--heads", str(strange))
    assert 2 == found.exit_code
    assert f"--heads: {strange} is not what `maskgate ledger verify --json` prints" in found.stderr
