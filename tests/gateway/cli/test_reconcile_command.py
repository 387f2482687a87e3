"""`maskgate ledger reconcile`, on a database of both kinds, and what `maskgate ledger verify` says of it afterwards."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from gateway.accounting import Attempt, HeldAttempt, Ledger
from gateway.accounting import Result as Asked
from gateway.accounting.resolution import UNRESOLVED
from gateway.cli.failures import CommandFailed, Commands
from gateway.cli.ledger import verify
from gateway.cli.looking_up import Answer, Count, look_up
from gateway.cli.reconcile import reconcile
from gateway.cli.reconciled import print_answers
from gateway.settings import Settings
from providers.contract import Money
from tests.gateway.house import Command

ATTEMPT = Attempt("att_1", "seg_1", 0, "acme", "key_1", "prodia", "prodia", "birefnet", "us", "prodia@2026-01-01*1.2")
HELD = HeldAttempt(7, "att_1", "eu", "runflow", "sam-3", 5000, 0, None, "acme", "eu@2026-01-01")


@dataclass(frozen=True)
class Desk:
    """The command line, and a folder for statements."""

    run: Command
    folder: Path

    def statement(self, *rows: str, header: str = "job id,created_at,price") -> Path:
        """Write a statement."""
        file = self.folder / "statement.csv"
        file.write_text("\r\n".join((header, *rows, "")), encoding="utf-8-sig", newline="")
        return file

    def bring(self, *rows: str, options: tuple[str, ...] = ("--deployment", "prodia")) -> dict[str, Any]:
        """Import a statement and return what the command has said."""
        result = self.run("reconcile", "--statement", self.statement(*rows), *options, "--json")
        assert 0 == result.exit_code, result.output
        document: dict[str, Any] = json.loads(result.stdout)
        return document


@pytest.fixture
def desk(environ: dict[str, str], database_url: str, tmp_path: Path) -> Desk:
    """Return the command line on a ledger with one attempt on hold, and one that is settled."""
    asyncio.run(_fill(database_url))
    app = typer.Typer(cls=Commands)
    group = typer.Typer()
    group.command()(reconcile)
    group.command()(verify)
    app.add_typer(group, name="ledger")
    given = {**environ, "MASKGATE_DATABASE_URL": database_url}
    return Desk(lambda *words: CliRunner().invoke(app, ["ledger", *map(str, words)], env=given), tmp_path)


async def _fill(url: str) -> None:
    ledger = await Ledger.open(url, wall=time.time, clock=time.monotonic, answer_seconds=10)
    for name, cost in (("lost", None), ("settled", 5000)):
        attempt = Attempt(name, *[getattr(ATTEMPT, field) for field in Attempt.__slots__[1:]])
        reservation = await ledger.reserve(attempt, Money(6000), expires_in=600)
        if cost is None:
            await reservation.hold("unanswered")
        else:
            await reservation.settle(charge=Money(6000), cost=Money(cost), reported=None, upstream_ref="job_2")
    await ledger.close()


def moment() -> str:
    """Return this moment as a statement writes it."""
    return datetime.now(UTC).isoformat()


def group(document: dict[str, Any], name: str) -> tuple[int, str, str, int]:
    """Return the figures of one group."""
    [found] = [each for each in document["groups"] if each["group"] == name]
    return found["calls"], found["statement_usd"], found["ledger_usd"], found["written"]


def test_a_statement_is_imported_once(desk: Desk) -> None:
    """The groups are told with their figures, a second time nothing is written, and the ledger is intact."""
    rows = (f"job_1,{moment()},0.004", f"job_2,{moment()},0.0061", f"job_3,{moment()},1")
    document = desk.bring(*rows)
    assert (3, False, False) == (document["rows"], document["complete"], document["dry_run"])
    assert (1, "0.004000", "0.000000", 1) == group(document, "matched")
    assert (1, "0.006100", "0.005000", 1) == group(document, "different_amount")
    assert (1, "1.000000", "0.000000", 1) == group(document, "missing_here")
    assert (0, "0.000000", "0.000000", 0) == group(document, "missing_there")
    assert {
        "group": "matched",
        "line": 2,
        "upstream_ref": "job_1",
        "attempt_id": "lost",
        "was": "held",
        "statement_usd": "0.004000",
        "ledger_usd": "0.000000",
        "entry": "settle",
        "outcome": "written",
    } in document["findings"]
    again = desk.bring(*rows)
    assert (3, "1.010100", "1.010100", 0) == group(again, "matched")
    assert [] == again["findings"]
    verified = desk.run("verify", "--json")
    assert 0 == verified.exit_code, verified.output
    assert (7, True) == (json.loads(verified.stdout)["entries"], json.loads(verified.stdout)["intact"])


def test_the_tables(desk: Desk) -> None:
    """People read the groups, what became of each call, and what is left to do."""
    file = desk.statement(f"job_9,{moment()},0.5")
    period = ("--since", "2020-01-01T00:00:00Z", "--until", "2099-01-01T00:00:00Z")
    shown = desk.run("reconcile", "--statement", file, "--provider", "prodia", *period, "--dry-run").stdout
    for words in ("missing_there", "job_9", "0.500000", "import", "dry run", "--complete", "Nothing was written"):
        assert words in shown
    shown = desk.run("reconcile", "--statement", file, "--provider", "prodia", *period, "--complete").stdout
    for words in ("release", "correct", "import", "written"):
        assert words in shown
    assert "--complete" not in shown


def test_columns_are_named(desk: Desk) -> None:
    """A statement with names of its own is read by what the command line says."""
    file = desk.statement(f"job_2,{moment()},0.005", header="Ticket,When,Net")
    named = [word for column in ("id=Ticket", "time=when", "amount=NET") for word in ("--column", column)]
    result = desk.run("reconcile", "--statement", file, "--deployment", "prodia", *named, "--json")
    assert (1, "0.005000", "0.005000", 0) == group(json.loads(result.stdout), "matched")


@pytest.mark.parametrize(
    ("words", "row", "exit_code", "told"),
    [
        ((), "a,2026-04-05T12:00:00Z,1", 2, "name whose statement it is"),
        (("--deployment", "prodai"), "a,2026-04-05T12:00:00Z,1", 1, "neither the configuration nor the ledger knows"),
        (("--provider", "prodai"), "a,2026-04-05T12:00:00Z,1", 1, "neither the configuration nor the ledger knows"),
        (("--deployment", "prodia", "--provider", "eu"), "a,2026-04-05T12:00:00Z,1", 2, "prodia is one of prodia"),
        (("--provider", "prodia"), "a,2026-04-05T12:00:00,1", 1, "line 2: a moment without its zone"),
        (("--provider", "prodia"), "", 2, "--since: the statement has no rows; say which period it covers"),
        (("--provider", "prodia", "--since", "now"), "a,2026-04-05T12:00:00Z,1", 2, "--since: not a moment"),
        (("--provider", "prodia", "--since", "2027-01-01T00:00:00Z"), "a,2026-04-05T12:00:00Z,1", 2, "ends before"),
        (
            ("--provider", "prodia", "--since", "2026-01-01T00:00:00Z", "--until", "2026-01-02T00:00:00Z"),
            "a,2026-04-05T12:00:00Z,1",
            2,
            "line 2 lies outside",
        ),
        (("--provider", "prodia", "--column", "id"), "a,2026-04-05T12:00:00Z,1", 2, "--column: write id|time|amount"),
    ],
)
def test_refusals(desk: Desk, words: tuple[str, ...], row: str, exit_code: int, told: str) -> None:
    """What is wrong is told with its remedy, and nothing is written."""
    result = desk.run("reconcile", "--statement", desk.statement(row), *words)
    assert exit_code == result.exit_code
    assert told in " ".join(result.output.split())
    assert 4 == json.loads(desk.run("verify", "--json").stdout)["entries"]


def test_no_such_file(desk: Desk) -> None:
    """A statement that is not there, or is no text, is told by its name."""
    result = desk.run("reconcile", "--statement", desk.folder / "gone.csv", "--provider", "prodia")
    assert (1, True) == (result.exit_code, "gone.csv cannot be read" in result.output)
    file = desk.folder / "picture.csv"
    file.write_bytes(b"\x89PNG\xff")
    assert "cannot be read" in desk.run("reconcile", "--statement", file, "--provider", "prodia").output


def test_what_the_providers_say(environ: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Answers of a round of questions are printed, as a table and as JSON."""
    answers = [Answer(HELD, Asked.SETTLED, Money(4500))]
    print_answers(answers, json=False)
    table = capsys.readouterr().out
    for word in ("att_1", "settled", "0.005000", "0.004500", "asked about: 1."):
        assert word in table
    print_answers(answers, json=True)
    [printed] = json.loads(capsys.readouterr().out)["attempts"]
    assert ("settled", "0.004500") == (printed["result"], printed["charged_usd"])


def test_a_round_of_questions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever asks the providers is given the settings that `serve` would use, and tells of each answer."""
    config = tmp_path / "gateway.yaml"
    config.write_text("reconcile: {every_seconds: 7}\n", encoding="utf-8")
    monkeypatch.setenv("MASKGATE_STATE_DIR", str(tmp_path))

    async def ask(settings: Settings, count: Count) -> int:
        assert 7 == settings.reconcile.every_seconds
        count(HELD, Asked.UNKNOWN, UNRESOLVED)
        return 0

    assert [Answer(HELD, Asked.UNKNOWN, Money(0))] == look_up(config, ask)
    config.write_text("reconcile: {every_seconds: no}\n", encoding="utf-8")
    with pytest.raises(CommandFailed, match="every_seconds"):
        look_up(config, ask)
