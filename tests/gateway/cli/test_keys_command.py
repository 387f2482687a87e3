"""`maskgate keys`, on a database without a gateway."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.failures import FAILED, WRONG_COMMAND_LINE
from gateway.cli.main import app
from gateway.request import Scope
from gateway.store import Keys, fingerprint, open_database
from gateway.store.keys import MICROS, ApiKey

SECRET = re.compile(r"mg_[A-Za-z0-9_-]{32}")
Run = Callable[..., Result]


@pytest.fixture
def run(database_url: str) -> Run:
    """The commands, on an empty database of each kind."""
    environ = {"MASKGATE_DATABASE_URL": database_url, "MASKGATE_CONFIG": None}
    return lambda *arguments: CliRunner().invoke(app, list(arguments), env=environ)


def stored(url: str, secret: str) -> ApiKey | None:
    """Return what the database has of a key."""

    async def find() -> ApiKey | None:
        database = await open_database(url)
        try:
            return await Keys(database, time.time).find_key(fingerprint(secret))
        finally:
            await database.close()

    return asyncio.run(find())


def test_a_key_is_made_for_programs(run: Run, database_url: str) -> None:
    """--json prints the id, the key and its tenant, and nothing else; the database has the key's hash."""
    made = run("keys", "create", "--tenant", "acme", "--json")
    assert 0 == made.exit_code
    said = json.loads(made.stdout)
    assert {"id", "key", "tenant"} == set(said)
    key = stored(database_url, said["key"])
    assert key is not None
    assert (said["id"], "acme", said["tenant"], None) == (key.id, key.tenant, "acme", key.grant.expires_at)
    assert {"segment", "usage"} == key.grant.scopes


def test_a_key_is_made_for_people(run: Run, database_url: str) -> None:
    """Standard output has the key alone, so that it can be piped; what is said of it is on standard error."""
    options = ["--scope", "usage", "--scope", "admin", "--name", "CI", "--expires-in", "90d", "--burst", "3"]
    made = run("keys", "create", "--tenant", "acme", *options, "--requests-per-second", "0.5", "--concurrency", "2")
    assert SECRET.fullmatch(made.stdout.strip())
    key = stored(database_url, made.stdout.strip())
    assert key is not None
    assert key.grant.expires_at is not None
    assert 90 * 86_400 == round((key.grant.expires_at - key.created_at) / MICROS)
    assert ("CI", frozenset({Scope.USAGE, Scope.ADMIN}), 3, 2) == (
        key.name,
        key.grant.scopes,
        key.grant.limit.burst,
        key.grant.limit.concurrency,
    )
    assert f"{key.id} of acme is made" in made.stderr


def test_a_key_and_its_budget_come_together_or_not_at_all(run: Run) -> None:
    """A budget that is refused leaves no key behind."""
    made = json.loads(run("keys", "create", "--tenant", "acme", "--hard-budget-usd", "5", "--json").stdout)
    (budget,) = json.loads(run("budgets", "list", "--json").stdout)["budgets"]
    assert (made["id"], "total", True, "5.000000") == (
        budget["subject"],
        budget["period"],
        budget["hard"],
        budget["limit_usd"],
    )
    for amount in ("0", "-1", "1.0000001", "much"):
        refused = run("keys", "create", "--tenant", "acme", "--hard-budget-usd", amount, "--window", "day")
        assert WRONG_COMMAND_LINE == refused.exit_code
        assert refused.stderr.startswith("maskgate: --hard-budget-usd: ")
    assert [made["id"]] == [key["id"] for key in json.loads(run("keys", "list", "--json").stdout)["keys"]]


def test_keys_are_listed_revoked_and_rotated(run: Run, database_url: str) -> None:
    """A key's way through its life, and no secret or hash in any list."""
    one, other = (json.loads(run("keys", "create", "--tenant", name, "--json").stdout) for name in ("a", "b"))
    rotated = json.loads(run("keys", "rotate", one["id"], "--grace", "2h", "--json").stdout)
    assert (one["id"], "a") == (rotated["id"], rotated["tenant"])
    replaced = run("keys", "rotate", one["id"], "--grace", "0s")
    assert SECRET.fullmatch(replaced.stdout.strip())
    assert [False, True, True] == [
        stored(database_url, secret) is None for secret in (one["key"], rotated["key"], "mg_x")
    ]
    ended = run("keys", "revoke", other["id"])
    assert (0, f"{other['id']} of b is revoked.\n") == (ended.exit_code, ended.stdout)
    listed = run("keys", "list", "--json")
    statuses = {(key["tenant"], key["status"], key["replaces"]) for key in json.loads(listed.stdout)["keys"]}
    assert {("a", "good", None), ("a", "good", one["id"]), ("b", "revoked", None)} == statuses
    table = run("keys", "list", "--tenant", "b")
    assert other["id"] in table.stdout
    assert one["id"] not in table.stdout
    for said in (listed.stdout, table.stdout, ended.stdout):
        assert not SECRET.search(said)
        assert fingerprint(other["key"]) not in said


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["create", "--tenant", "acme", "--scope", "all"], WRONG_COMMAND_LINE, "--scope: "),
        (["create", "--tenant", "a b"], WRONG_COMMAND_LINE, "--tenant: "),
        (["create", "--tenant", "acme", "--expires-in", "soon"], WRONG_COMMAND_LINE, "--expires-in: 'soon' is no"),
        (["create", "--tenant", "acme", "--expires-in", "0s"], WRONG_COMMAND_LINE, "--expires-in: "),
        (["create", "--tenant", "acme", "--requests-per-second", "0"], WRONG_COMMAND_LINE, "--requests-per-second: "),
        (["create", "--tenant", "acme", "--window", "day"], WRONG_COMMAND_LINE, "--window goes with"),
        (["rotate", "key_1", "--grace", "9999d"], WRONG_COMMAND_LINE, "--grace: "),
        (["rotate", "key_1"], FAILED, "there is no key 'key_1'"),
        (["revoke", "key_1"], FAILED, "there is no key 'key_1'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    """Exit code and option say what to write instead; no key is made."""
    environ = {"MASKGATE_DATABASE_URL": f"sqlite:///{tmp_path}/ledger.db", "MASKGATE_CONFIG": None}
    refused = CliRunner().invoke(app, ["keys", *arguments], env=environ)
    assert code == refused.exit_code
    assert refused.stderr.startswith(f"maskgate: {words}")
    listed = CliRunner().invoke(app, ["keys", "list", "--json"], env=environ)
    assert [] == json.loads(listed.stdout)["keys"]


def test_the_database_is_the_one_that_serve_would_use(tmp_path: Path) -> None:
    """Without an address it is the file in the state folder, which is made."""
    environ = {"MASKGATE_STATE_DIR": str(tmp_path / "new"), "MASKGATE_CONFIG": None, "MASKGATE_DATABASE_URL": None}
    made = CliRunner().invoke(app, ["keys", "create", "--tenant", "acme", "--json"], env=environ)
    assert stored(f"sqlite:///{tmp_path}/new/maskgate.db", json.loads(made.stdout)["key"]) is not None


@pytest.mark.parametrize(
    "arguments",
    [["keys", "list"], ["budgets", "list"], ["db", "current"], ["ledger", "verify"]],
    ids=" ".join,
)
def test_no_provider_key_is_needed(tmp_path: Path, arguments: list[str]) -> None:
    """A configuration that names variables which this machine does not have keeps nobody from the database."""
    configuration = tmp_path / "maskgate.yaml"
    configuration.write_text("deployments: [{name: eu, credential: '${RUNFLOW_API_KEY}'}]", encoding="utf-8")
    environ = {"MASKGATE_DATABASE_URL": f"sqlite:///{tmp_path}/ledger.db", "MASKGATE_CONFIG": str(configuration)}
    CliRunner().invoke(app, ["keys", "create", "--tenant", "acme"], env=environ)
    for options in ([], ["--config", str(configuration)]):
        asked = CliRunner().invoke(app, [*arguments, *options, "--json"], env={**environ, "RUNFLOW_API_KEY": None})
        assert 0 == asked.exit_code, asked.output
