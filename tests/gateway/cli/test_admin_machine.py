"""Keys, budgets and the ledger are looked after where nothing but the database's address is known."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from gateway.cli.budgets import budgets
from gateway.cli.db import db
from gateway.cli.failures import Commands
from gateway.cli.keys import keys
from gateway.cli.ledger import ledger

#: What a gateway is configured with, which needs variables that this machine does not have.
ELSEWHERE = """\
deployments:
- {name: eu, provider: runflow, model: meta/sam-3/image, region: eu, credential: "${RUNFLOW_KEY_OF_ANOTHER_MACHINE}"}
budgets: {webhook_url: "https://hooks.example/x", webhook_secret: "${WEBHOOK_SECRET_OF_ANOTHER_MACHINE}"}
"""


@pytest.fixture
def program() -> typer.Typer:
    """Return the commands of an administrator."""
    program = typer.Typer(cls=Commands)
    for name, group in (("keys", keys), ("budgets", budgets), ("ledger", ledger), ("db", db)):
        program.add_typer(group, name=name)
    return program


def test_every_command_needs_the_database_alone(program: typer.Typer, database_url: str, tmp_path: Path) -> None:
    """With a configuration of which no variable is set, each of them does its work, and exits with 0."""
    file = tmp_path / "maskgate.yaml"
    file.write_text(ELSEWHERE, encoding="utf-8")
    environ = {
        "MASKGATE_CONFIG": str(file),
        "MASKGATE_DATABASE_URL": database_url,
        "MASKGATE_STATE_DIR": str(tmp_path / "state"),
    }

    def run(*arguments: str) -> Any:
        done = CliRunner().invoke(program, [*arguments, "--json"], env=environ)
        assert (0, "") == (done.exit_code, done.stderr.partition("checking")[0]), (arguments, done.output)
        return json.loads(done.stdout)

    run("db", "upgrade")
    first = run("keys", "create", "--tenant", "acme")
    second = run("keys", "rotate", first["id"])
    assert {first["id"], second["id"]} <= {each["id"] for each in run("keys", "list")["keys"]}
    budget = run("budgets", "set", "--tenant", "acme", "--usd", "5", "--window", "day")
    assert [budget["id"]] == [each["id"] for each in run("budgets", "list")["budgets"]]
    run("budgets", "remove", budget["id"])
    assert "revoked" == run("keys", "revoke", second["id"])["status"]
    assert [] == run("ledger", "verify")["breaks"]
    run("db", "current")
