"""`maskgate budgets`, on the database that a gateway uses at the same time; of both kinds."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from gateway.accounting import Attempt, Ledger
from gateway.accounting.ledger import OverBudget
from gateway.cli.budgets import budgets
from gateway.cli.failures import Commands
from providers.contract import Money
from tests.gateway.house import Command


def budgets_command(environ: dict[str, str]) -> Command:
    """Return the command line in an environment."""
    app = typer.Typer(cls=Commands)
    app.add_typer(budgets, name="budgets")
    return lambda *arguments: CliRunner().invoke(app, ["budgets", *map(str, arguments)], env=environ)


@pytest.fixture
def command(environ: dict[str, str], database_url: str) -> Command:
    """Return the command line, with a database of each kind in its environment."""
    return budgets_command({**environ, "MASKGATE_DATABASE_URL": database_url})


@pytest.fixture
def embedded(environ: dict[str, str]) -> Command:
    """Return the command line with nothing in its environment but a state folder, which holds the database."""
    return budgets_command(environ)


def document(result: Result) -> Any:
    """Return what a command has printed as JSON."""
    assert 0 == result.exit_code, result.output
    return json.loads(result.stdout)


def test_budgets_are_set_listed_and_removed(command: Command) -> None:
    """What is set is listed, as a table and as JSON, until it is removed."""
    budget = document(command("set", "--tenant", "acme", "--usd", "12.5", "--window", "day", "--json"))
    assert ("tenant", "day", True, "12.500000") == tuple(
        budget[name] for name in ("scope", "period", "hard", "limit_usd")
    )
    told = command("set", "--tenant", "acme", "--tag", "team=search", "--usd", "3", "--soft")
    assert "soft, month, tag team=search: $3.000000, of which $3.000000 are left" in told.stdout
    listed = document(command("list", "--json"))["budgets"]
    assert ["acme", "team=search"] == [found["subject"] for found in listed]
    table = command("list", "--tenant", "acme").stdout
    for word in (budget["id"], "tag team=search", "hard", "soft", "$12.500000", "T00:00:00Z"):
        assert word in table
    assert budget["id"] == document(command("remove", budget["id"], "--json"))["id"]
    assert "is removed" in command("remove", listed[1]["id"]).stdout
    assert [] == document(command("list", "--json"))["budgets"]


def test_a_budget_from_the_shell_refuses_at_a_running_gateway(command: Command, database_url: str) -> None:
    """A gateway that runs meanwhile obeys a budget from the moment at which the command ends."""

    def attempt(number: int) -> Attempt:
        return Attempt(f"att_{number}", "seg_1", 0, "acme", "key_1", "eu", "runflow", "sam-3", "eu", "eu@2026-01-01")

    async def spend() -> None:
        ledger = await Ledger.open(database_url, wall=time.time, clock=time.monotonic, answer_seconds=10)
        try:
            await ledger.reserve(attempt(1), Money(5000), expires_in=60)
            wanted = ("set", "--tenant", "acme", "--usd", "0.006", "--window", "total", "--json")
            budget = document(await asyncio.to_thread(command, *wanted))
            assert (5000, 1000) == (budget["reserved_microusd"], budget["left_microusd"])
            with pytest.raises(OverBudget):
                await ledger.reserve(attempt(2), Money(1001), expires_in=60)
            await ledger.reserve(attempt(3), Money(1000), expires_in=60)
        finally:
            await ledger.close()

    asyncio.run(spend())


@pytest.mark.parametrize(
    ("option", "arguments"),
    [
        ("--usd", ["--usd", "0"]),
        ("--usd", ["--usd=-1"]),
        ("--usd", ["--usd", "1e30"]),
        ("--usd", ["--usd", "1.0000001"]),
        ("--window", ["--usd", "1", "--window", "week"]),
        ("--tag", ["--usd", "1", "--tag", "team"]),
        ("--tag", ["--usd", "1", "--tag", "a=b", "--key", "key_1"]),
    ],
)
def test_a_wrong_option_is_named(embedded: Command, option: str, arguments: list[str]) -> None:
    """An option that cannot be ends the command as a wrong command line, and the message begins with it."""
    result = embedded("set", "--tenant", "acme", *arguments)
    assert (2, True) == (result.exit_code, result.stderr.startswith(f"maskgate: {option}: ")), result.stderr


def test_what_is_not_there_is_told(embedded: Command) -> None:
    """An unknown key and an unknown budget fail with a sentence that says where the ids are."""
    result = embedded("set", "--tenant", "acme", "--key", "key_9", "--usd", "1")
    assert (1, True) == (result.exit_code, "maskgate keys list" in result.stderr)
    result = embedded("remove", "bud_9")
    assert (1, True) == (result.exit_code, "maskgate budgets list" in result.stderr)
